/* Text as the exposition format has it. */
#ifndef METRICS_ESCAPE_H
#define METRICS_ESCAPE_H

#include <stdbool.h>

#include "base/buffer.h"

/* Appends a label's value (`quote`: double quotes are escaped) or a help text. What is no UTF-8
 * becomes U+FFFD. */
void metrics_append_escaped(struct buffer *out, const char *text, bool quote);

#endif
