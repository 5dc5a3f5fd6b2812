/* The head of an answer, status line and header, as the text that is sent. evhttp would keep each
 * line in three allocations and format it when it sends; here it is appended once. */
#ifndef HTTP_HEAD_H
#define HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

/* The status line of HTTP/1.`minor` and the Date. */
void head_begin(struct buffer *head, int minor, int status);
/* `value` has no line break: what a client sent was looked at by request_check(). */
void head_add(struct buffer *head, const char *name, const char *value);
void head_add_number(struct buffer *head, const char *name, size_t number);
/* Whether a line is there; `head` may also be lines alone. */
bool head_has(const struct buffer *head, const char *name);
/* The empty line. */
void head_end(struct buffer *head);

#endif
