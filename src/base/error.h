/* What went wrong, in words that a person can act on. Filled by functions that return false. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdbool.h>

struct error {
    char text[1024]; /* NUL-terminated; "" when nothing went wrong; longer text is cut with "..." */
};

/* Sets the text. `err` may be NULL (the caller does not care). Always returns false, so that a
 * failing function can end with `return error_set(err, ...)`. Any thread. */
bool error_set(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "context: " before the text that is there. Always returns false. */
bool error_context(struct error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
