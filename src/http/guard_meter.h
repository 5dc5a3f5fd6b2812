/* What a guard counts. */
#ifndef HTTP_GUARD_METER_H
#define HTTP_GUARD_METER_H

#include "metrics/metrics.h"

enum refusal {
    REFUSAL_CONNECTIONS, /* more connections than allowed */
    REFUSAL_MALFORMED,   /* 400, 417, 501: no HTTP that is served here */
    REFUSAL_TOO_LARGE,   /* 413, 414, 431 */
    REFUSAL_TIMEOUT,     /* 408: the request did not arrive in time */
    N_REFUSALS,
};

struct guard_meter {
    struct gauge *connections;
    struct counter *refused[N_REFUSALS];
    struct counter *timed_out; /* connections closed because a deadline passed */
};

void guard_meter_init(struct guard_meter *meter, struct metrics *metrics, const char *listener);

#endif
