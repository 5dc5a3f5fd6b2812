/* One request from its arrival to its answer. It holds the generation that it began with until the
 * end; when the client leaves, it ends without an answer. */
#ifndef HTTP_EXCHANGE_H
#define HTTP_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "http/request.h"
#include "http/service.h"
#include "http/waiting.h"

struct exchange {
    struct service *service;
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

struct exchange *exchange_new(struct service *service, struct client *client);

/* These end the exchange. */
void exchange_answer(struct exchange *exchange, int status, struct bytes json);
void exchange_fail(struct exchange *exchange, int status, const char *text);
void exchange_not_allowed(struct exchange *exchange, const char *allow);
void exchange_options(struct exchange *exchange, const char *allow);

/* Asks the rules, and PostgreSQL for them, and answers: now or later. */
void exchange_ask_rules(struct exchange *exchange);

#endif
