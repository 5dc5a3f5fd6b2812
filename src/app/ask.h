/* Asks a server on this machine, blocking: for commands, never in the service. */
#ifndef APP_ASK_H
#define APP_ASK_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/error.h"

/* One HTTP/1.1 request to 127.0.0.1 and its whole answer, head and body; each wait at most
 * `timeout_s`. False: no answer, `err` says why. `answer` is the caller's in any case. */
bool ask(int port, const char *method, const char *target, int timeout_s, struct buffer *answer,
         struct error *err) __attribute__((warn_unused_result));
int ask_status(const struct buffer *answer);
/* The body, with a newline and a NUL behind it; in the buffer. */
const char *ask_body(struct buffer *answer);

#endif
