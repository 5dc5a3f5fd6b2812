/* Who may come in, and how often: authentication, then the rate limit, for every request of the
 * public server but OPTIONS and the health endpoints. Shared by its threads. */
#ifndef HTTP_GATE_H
#define HTTP_GATE_H

#include <stdbool.h>

#include "base/error.h"
#include "config/settings.h"
#include "http/openapi.h"
#include "http/request.h"
#include "metrics/metrics.h"

struct gate;

/* Says in the log what it will ask for. NULL with `err`: the key file or TRUSTED_PROXIES cannot be
 * used. `settings` and `metrics` live longer. Main thread, at start. */
struct gate *gate_new(const struct settings *settings, struct metrics *metrics, struct error *err)
    __attribute__((warn_unused_result));
void gate_free(struct gate *gate); /* NULL is accepted */
/* auth_reload(). */
bool gate_reload(struct gate *gate, struct error *err);

/* What it may answer, for the description of the API. */
struct openapi_options gate_describe(const struct gate *gate);

/* 0: the request may come in, and its claims are set. Otherwise the status to answer, 401 or 429,
 * and *text to say. Puts the headers that belong to it into the answer: RateLimit-* always, where
 * there is a limit. A client is known by its token's subject, else by its address; requests with a
 * bad token count for the address. Any thread. */
int gate_check(struct gate *gate, struct request *request, const char **text);

#endif
