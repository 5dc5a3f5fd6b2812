#include "http/exchange.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#define DEFECT_TEXT      "Internal server error"
#define UNAVAILABLE_TEXT "The database is not available, please try again"
#define BUSY_TEXT        "The service is busy, please try again"

static void advance(struct exchange *exchange);
static void on_time(int waited_ms, bool is_final, void *arg);

/* ---- the beginning ---- */

struct exchange *exchange_new(struct exchange_shared *shared, struct client *client)
{
    struct exchange *exchange = memory_zero(1, sizeof *exchange);
    exchange->shared = shared;
    exchange->client = client;
    exchange->began_us = clock_monotonic_us();
    exchange->waiter =
        (struct waiter){.room = &shared->waiting, .on_time = on_time, .arg = exchange};
    return exchange;
}

/* ---- how many are in flight ---- */

/* False: there are more than there may be. */
static bool count_in_flight(struct exchange *exchange)
{
    struct exchange_shared *shared = exchange->shared;
    exchange->counted = true;
    gauge_add(shared->in_flight_gauge, 1);
    return atomic_fetch_add(shared->in_flight, 1) < shared->max_in_flight;
}

static void uncount_in_flight(struct exchange *exchange)
{
    struct exchange_shared *shared = exchange->shared;
    if (!exchange->counted)
        return;
    exchange->counted = false;
    atomic_fetch_sub(shared->in_flight, 1);
    gauge_add(shared->in_flight_gauge, -1);
}

/* ---- the end ---- */

static void exchange_free(struct exchange *exchange)
{
    struct exchange_shared *shared = exchange->shared;
    waiter_release(&exchange->waiter);
    if (exchange->query)
        reader_query_cancel(exchange->query);
    if (exchange->call)
        rules_call_free(exchange->call);
    routing_release(exchange->routing);
    if (exchange->generation)
        rules_registry_release(shared->rules, exchange->generation);
    uncount_in_flight(exchange);
    request_free(&exchange->request);
    free(exchange);
}

static void on_gone(void *arg)
{
    struct exchange *exchange = arg;
    counter_add(exchange->shared->abandoned, 1);
    exchange_free(exchange);
}

/* Counted first: whoever has the answer finds it among the metrics. */
static void end(struct exchange *exchange, struct response response)
{
    const struct request *request = &exchange->request;
    int64_t took_us = clock_monotonic_us() - exchange->began_us;
    struct tally *tally = exchange->target ? &exchange->target->tally : &exchange->shared->unrouted;
    tally_add(tally, request->method, response.status, (double)took_us / 1e6);
    if (log_enabled(LOG_DEBUG))
        log_debug("http", "%s %s: %d in %lld us, request %s", request->method, request->path,
                  response.status, (long long)took_us, request->id);
    response_send(&response);
    exchange_free(exchange);
}

void exchange_answer(struct exchange *exchange, int status, struct bytes json)
{
    end(exchange, response_json(exchange->client, &exchange->request, &exchange->shared->policy,
                                status, json, json));
}

void exchange_fail(struct exchange *exchange, int status, const char *text)
{
    end(exchange, response_error(exchange->client, &exchange->request, &exchange->shared->policy,
                                 status, text));
}

void exchange_not_allowed(struct exchange *exchange, const char *allow)
{
    end(exchange, response_not_allowed(exchange->client, &exchange->request,
                                       &exchange->shared->policy, allow));
}

void exchange_options(struct exchange *exchange, const char *allow)
{
    end(exchange,
        response_options(exchange->client, &exchange->request, &exchange->shared->policy, allow));
}

/* ---- what the client must not see ---- */

static void log_trouble(const struct exchange *exchange, enum log_level level,
                        struct log_limit *limit, const char *what)
{
    const struct request *request = &exchange->request;
    log_limited(limit, 1000, level, "http", "%s %s, request %s: %s", request->method, request->path,
                request->id, what);
}

static void fail_defect(struct exchange *exchange, const char *what)
{
    log_trouble(exchange, LOG_ERROR, &exchange->shared->defect_limit, what);
    exchange_fail(exchange, 500, DEFECT_TEXT);
}

static void fail_unavailable(struct exchange *exchange, const char *what)
{
    log_trouble(exchange, LOG_WARN, &exchange->shared->trouble_limit, what);
    exchange_fail(exchange, 503, UNAVAILABLE_TEXT);
}

/* ---- through the rules ---- */

static void answer_lasting(struct exchange *exchange, const struct reply *reply)
{
    struct bytes json = buffer_bytes(&reply->body);
    struct bytes lasting = reply->lasting ? bytes_of(json.data, reply->lasting) : json;
    end(exchange, response_json(exchange->client, &exchange->request, &exchange->shared->policy,
                                reply->status, json, lasting));
}

static void answer_reply(struct exchange *exchange, struct reply *reply)
{
    if (reply->failed)
        fail_defect(exchange, reply->err.text);
    else
        answer_lasting(exchange, reply);
    buffer_free(&reply->body);
}

static void on_rows(enum query_outcome outcome, const struct result *result,
                    const struct error *err, void *arg)
{
    struct exchange *exchange = arg;
    exchange->query = NULL;
    switch (outcome) {
    case QUERY_OK: {
        struct reply reply = {0};
        exchange->rows_came = reader_pool_now(exchange->shared->pool);
        if (rules_call_result(exchange->call, result, &reply))
            advance(exchange);
        else
            answer_reply(exchange, &reply);
        break;
    }
    case QUERY_UNAVAILABLE:
    case QUERY_TIMEOUT:
        fail_unavailable(exchange, err->text);
        break;
    case QUERY_FAILED:
        fail_defect(exchange, err->text);
        break;
    }
}

static void go_again(struct exchange *exchange, int waited_ms, bool is_final)
{
    struct reply reply = {0};
    if (rules_call_again(exchange->call, waited_ms, is_final, &reply))
        advance(exchange);
    else
        answer_reply(exchange, &reply);
}

/* Those who have waited are let in again even when there are as many as there may be. */
static void on_time(int waited_ms, bool is_final, void *arg)
{
    struct exchange *exchange = arg;
    (void)count_in_flight(exchange);
    go_again(exchange, waited_ms, is_final);
}

static void wait_for_time(struct exchange *exchange, int ms)
{
    if (waiter_wait(&exchange->waiter, ms))
        uncount_in_flight(exchange);
    else
        go_again(exchange, waiter_waited_ms(&exchange->waiter), true);
}

static void advance(struct exchange *exchange)
{
    struct query_params params;
    struct reply reply = {0};
    int again_ms;
    switch (rules_call_next(exchange->call, &params, &reply)) {
    case CALL_QUERY:
        exchange->query =
            reader_pool_query(exchange->shared->pool, params.query->sql, params.values,
                              params.query->n_types, exchange->rows_came, on_rows, exchange);
        return;
    case CALL_REPLY:
        again_ms = rules_call_reply(exchange->call, &reply);
        if (again_ms > 0) {
            wait_for_time(exchange, again_ms);
            return;
        }
        break;
    case CALL_ANSWERED:
        break;
    }
    answer_reply(exchange, &reply);
}

void exchange_ask_rules(struct exchange *exchange)
{
    struct exchange_shared *shared = exchange->shared;
    const struct request *request = &exchange->request;
    if (!count_in_flight(exchange)) {
        counter_add(shared->busy, 1);
        log_trouble(exchange, LOG_WARN, &shared->trouble_limit, "too many requests in flight");
        exchange_fail(exchange, 503, BUSY_TEXT);
        return;
    }
    client_on_gone(exchange->client, on_gone, exchange);
    const struct request_view view = {
        .method = request_is_head(request) ? "GET" : request->method,
        .path = request->path,
        .params = request->params,
        .n_params = request->n_params,
        .claims = request->claims,
        .body = request->body,
        .request_id = request->id,
    };
    struct reply reply = {0};
    exchange->call = rules_call_begin(exchange->generation->states[shared->slot],
                                      exchange->target->endpoint, &view, &reply);
    if (exchange->call)
        advance(exchange);
    else
        answer_reply(exchange, &reply);
}
