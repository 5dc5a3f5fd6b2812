/* The bodies of /health, /healthz and /readyz. */
#ifndef HTTP_PROBE_H
#define HTTP_PROBE_H

#include <stdbool.h>

#include "base/buffer.h"

#define PROBE_HEALTH "{\"status\":\"ok\",\"service\":\"core-service\"}"
#define PROBE_ALIVE  "{\"status\":\"alive\"}"

/* Writes the body and returns 200 (ready, or degraded when there are reasons all the same) or 503.
 * `reasons`: one a line. */
int probe_ready(bool ready, const struct buffer *reasons, struct buffer *json);

#endif
