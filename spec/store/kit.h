/* What the specs of src/store share: a database of their own, plain blocking SQL on the side, and
 * an event loop that runs until something is so. */
#ifndef SPEC_STORE_KIT_H
#define SPEC_STORE_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>

#include "base/error.h"
#include "model/table.h"
#include "store/schema.h"
#include "store/writer.h"

struct kit {
    struct event_base *base;
    char *conninfo; /* of the database made for this spec */
    char *name;     /* of it */
};

/* cmocka's group set-up and tear-down: *state becomes a struct kit with an empty database. */
int kit_setup(void **state);
/* The same with all of migrations/ applied. */
int kit_setup_migrated(void **state);
int kit_teardown(void **state);

/* Runs SQL on a connection of its own, blocking; fails the test when it fails. The first cell, ""
 * when there is none, valid until the next call. */
const char *kit_sql(struct kit *kit, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* kit_sql and compare. */
#define kit_expect(kit, expected, ...) assert_string_equal(kit_sql(kit, __VA_ARGS__), expected)

/* A blocking session of its own, to hold locks with; close it with PQfinish. */
struct pg_conn *kit_session(struct kit *kit);
void kit_exec(struct pg_conn *session, const char *sql);

/* Applies one file of migrations/; false with the message in *err when PostgreSQL refuses. */
bool kit_apply(struct kit *kit, const char *file, struct error *err);

/* Runs the event loop until `*flag`; fails the test after ten seconds. */
void kit_run_until(struct kit *kit, const bool *flag, const char *what);
/* Until `check(arg)`. */
void kit_run_until_true(struct kit *kit, bool (*check)(void *arg), void *arg, const char *what);

/* "restart", "stop", "start" or "kill" the server itself. */
void kit_server(const char *verb);

/* Waits, blocking, until the query returns `expected`. */
void kit_wait_sql(struct kit *kit, const char *expected, const char *sql);

/* ---- tables ---- */

/* market_klines as market_data_v2.lua declares it: columns close, high, low, open, sequence,
 * symbol, time, volume. */
extern const struct table_def kit_market_klines;
/* The same without `newer`. */
extern const struct table_def kit_unnumbered;

struct kit_candle {
    const char *symbol;
    int64_t time_ms;
    const char *price; /* decimal text: all four prices, and the volume */
    int64_t sequence;  /* < 0: NULL */
};
/* A row of kit_market_klines; what it points to is static or in `candle`. */
struct row kit_row(const struct kit_candle *candle, struct value values[8]);

/* Loads the schema of the named tables through a control connection. */
struct schema *kit_schema(struct kit *kit, const char *const *tables, size_t n_tables);

/* ---- writing ---- */

struct kit_write {
    bool done;
    struct write_result result;
};
struct writer *kit_writer(struct kit *kit, struct schema *schema);
/* The same with a time-out for its statements; `schema` may be NULL. */
struct writer *kit_writer_with(struct kit *kit, struct schema *schema, int write_timeout_ms);
void kit_on_written(const struct write_result *result, void *kit_write);
/* Submits and waits for the end. */
struct write_result kit_write_batch(struct kit *kit, struct writer *writer,
                                    const struct write_batch *batch);
/* Rows of one table without offsets. */
struct write_result kit_write_candles(struct kit *kit, struct writer *writer,
                                      const struct table_def *table,
                                      const struct kit_candle *candles, size_t n);

#endif
