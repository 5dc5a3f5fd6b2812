/* One request from its arrival to its answer. It holds the generation that it began with until the
 * end; when the client leaves, it ends without an answer. */
#ifndef HTTP_EXCHANGE_H
#define HTTP_EXCHANGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "http/guard.h"
#include "http/request.h"
#include "http/response.h"
#include "http/routing.h"
#include "http/tally.h"
#include "http/waiting.h"
#include "metrics/metrics.h"
#include "rules/generation.h"
#include "store/reader.h"

/* What the exchanges of a thread share. */
struct exchange_shared {
    struct rules_registry *rules;
    size_t slot; /* the thread's in each generation */
    struct reader_pool *pool;
    struct cors_policy policy;
    struct waiting_room waiting;
    atomic_int *in_flight; /* inside rules or the database, of all threads */
    int max_in_flight;
    struct gauge *in_flight_gauge;
    struct counter *busy;      /* 503 because too many were in flight */
    struct counter *abandoned; /* the client left before the answer */
    struct tally unrouted;
    struct log_limit defect_limit, trouble_limit;
    bool (*is_ready)(struct buffer *reasons, void *arg); /* for /readyz */
    void *arg;
};

struct exchange {
    struct exchange_shared *shared;
    struct client *client;
    struct request request;
    int64_t began_us;                    /* monotonic */
    struct rules_generation *generation; /* held, or NULL */
    struct routing *routing;             /* held, or NULL */
    struct target *target;               /* of its routes; NULL until routed */
    struct rules_call *call;             /* NULL: not inside the rules */
    struct reader_query *query;          /* in flight, or NULL */
    uint64_t rows_came;                  /* the latest, by reader_pool_now(); 0: none yet */
    struct waiter waiter;                /* between two rounds through the rules */
    bool counted;                        /* among those in flight */
};

/* `shared` lives longer. */
struct exchange *exchange_new(struct exchange_shared *shared, struct client *client);

/* These end the exchange. */
void exchange_answer(struct exchange *exchange, int status, struct bytes json);
void exchange_fail(struct exchange *exchange, int status, const char *text);
void exchange_not_allowed(struct exchange *exchange, const char *allow);
void exchange_options(struct exchange *exchange, const char *allow);

/* Asks the rules, and PostgreSQL for them, and answers: now or later. */
void exchange_ask_rules(struct exchange *exchange);

#endif
