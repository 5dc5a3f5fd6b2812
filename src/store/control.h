/* The main thread's work on PostgreSQL: schema, rule_generations. One connection that is opened
 * when there is work and closed when there is none left, so that a process can be held to few
 * connections. Belongs to the thread of its event_base. */
#ifndef STORE_CONTROL_H
#define STORE_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "store/schema.h"

struct event_base;
struct pg_result; /* libpq's PGresult */
struct control;

struct control *control_new(struct event_base *base, const char *conninfo, int connect_timeout_ms);
/* Work that is outstanding is forgotten: its `done` is not called. Not from inside a `done`. NULL
 * is accepted. */
void control_free(struct control *control);

/* Jobs run one after another in the order they were asked for. Each `done` is called exactly once,
 * never from inside the call; a connection that is not reached, or is lost, fails the job (`err`
 * says so): nothing is repeated, the caller decides. */

/* schema_load on this connection; `schema` is held for the receiver, NULL with `err`. */
void control_load_schema(struct control *control, const struct schema_wish *wish,
                         void (*done)(struct schema *schema, const struct error *err, void *arg),
                         void *arg);

/* Appends a generation to rule_generations with state 'published' and `files` as jsonb. */
void control_save_generation(struct control *control, const char *hash, struct bytes files_json,
                             void (*done)(bool ok, const struct error *err, void *arg), void *arg);

/* Marks all rows of the hash ("rolled_back", "failed"). */
void control_mark_generation(struct control *control, const char *hash, const char *state,
                             void (*done)(bool ok, const struct error *err, void *arg), void *arg);

struct stored_generation {
    int64_t id;
    const char *hash;
    const char *state;
    struct bytes files_json;
    int64_t published_at_ms;
};

/* The newest `limit` generations, newest first, borrowed until `done` returns; NULL with `err`. */
void control_load_generations(struct control *control, size_t limit,
                              void (*done)(const struct stored_generation *generations, size_t n,
                                           const struct error *err, void *arg),
                              void *arg);

/* Runs one statement with text parameters (NULL: SQL NULL), which are copied; `sql` is a literal.
 * For parts of store: `take` gets the rows, borrowed, or NULL with `err`, and what was given as
 * `done` and `arg`. */
typedef void (*control_done)(void); /* any function: `take` knows its type */
typedef void (*control_take_cb)(const struct pg_result *rows, const struct error *err,
                                control_done done, void *arg);
void control_query(struct control *control, const char *sql, const char *const *values,
                   size_t n_values, control_take_cb take, control_done done, void *arg);

#endif
