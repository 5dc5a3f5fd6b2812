/* Reads for one HTTP thread: a few connections in pipeline mode, a Sync after each query. Belongs
 * to the thread of its event_base. */
#ifndef STORE_READER_H
#define STORE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "metrics/metrics.h"
#include "model/result.h"

struct event_base;
struct reader_pool;
struct reader_query; /* somebody who waits for rows */

struct reader_options {
    const char *conninfo;
    const char *application_name;
    int connections;
    int connect_timeout_ms;
    int statement_timeout_ms;
    struct counter *shared; /* queries that needed no statement of their own; NULL: not counted */
};

struct reader_pool *reader_pool_new(struct event_base *base, const struct reader_options *options);
/* Queries that are outstanding end as QUERY_UNAVAILABLE. Not from inside a `done`. NULL is
 * accepted.
 */
void reader_pool_free(struct reader_pool *pool);
/* At least one connection is READY. */
bool reader_pool_is_ready(const struct reader_pool *pool);
const char *reader_pool_trouble(const struct reader_pool *pool);

enum query_outcome {
    QUERY_OK,
    QUERY_UNAVAILABLE, /* no connection, or it was lost, or PostgreSQL is shutting down or full, or
                          a table is not there: try again later (503) */
    QUERY_TIMEOUT,     /* statement_timeout (503) */
    QUERY_FAILED,      /* the statement is wrong for this database: a defect (500) */
};

/* `result` is set for QUERY_OK and borrowed; `err` for the others, for the log. Called exactly
 * once, unless cancelled. */
typedef void (*query_done_cb)(enum query_outcome outcome, const struct result *result,
                              const struct error *err, void *arg);

/* Grows whenever rows have come. */
uint64_t reader_pool_now(const struct reader_pool *pool);

/* Runs a prepared statement on the connection with the fewest queries in flight, or waits with
 * those who asked the same and have no rows yet: all get the rows of the first. Who goes on from
 * rows that it got must not see older ones after them: `since` is reader_pool_now() as it was when
 * they came, and only a statement that was sent later is shared; 0: whichever is in flight.
 * Parameters are text, copied. `done` is never called from inside this call. NULL never happens. */
struct reader_query *reader_pool_query(struct reader_pool *pool, const char *sql,
                                       const char *const *values, size_t n_values, uint64_t since,
                                       query_done_cb done, void *arg);
/* It does not wait any more: `done` will not be called. Others who wait for the same rows get them.
 * Not from inside its `done`, or after. */
void reader_query_cancel(struct reader_query *query);

#endif
