/* Doubles as decimal text and back, by the C++ library, which does both several times faster than
 * printf() and strtod(). Any thread. */
#ifndef BASE_DOUBLE_H
#define BASE_DOUBLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

#define DOUBLE_TEXT_SIZE 32

/* Writes the shortest text that reads back as the same double, as "5.00125e+04", with a NUL.
 * `number` is finite and above 0. */
void double_write(double number, char text[DOUBLE_TEXT_SIZE]);
/* Reads a JSON number, rounded to the nearest double. False: it is not one, or too large or too
 * near to 0 for any but 0. */
bool double_read(struct bytes text, double *number) __attribute__((warn_unused_result));

#endif
