/* One PostgreSQL connection on an event loop: connects by itself, comes back by itself, runs
 * statements in libpq's pipeline mode.
 *
 * Statements are sent in segments: connection_send() any number of times, then connection_sync(). A
 * segment is one implicit transaction: it commits when PostgreSQL reaches the Sync, and when one
 * statement fails the rest of the segment is skipped and all of it is rolled back
 * (https://www.postgresql.org/docs/15/libpq-pipeline-mode.html). Everything here belongs to the
 * thread of its event_base. Names are resolved in a helper thread, TLS verifies the name given. */
#ifndef STORE_CONNECTION_H
#define STORE_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct event_base;
struct pg_result; /* libpq's PGresult */
struct connection;

enum connection_state {
    CONNECTION_IDLE, /* made, not asked to connect */
    CONNECTION_RESOLVING,
    CONNECTION_CONNECTING,
    CONNECTION_SETUP, /* connected, running the setup statements */
    CONNECTION_READY,
    CONNECTION_BACKOFF, /* lost or refused; tries again after 100 ms, doubling to 5 s, with jitter
                         */
};

struct connection_options {
    const char *conninfo;         /* URI or key=value */
    const char *application_name; /* "core-service ingest/0" */
    int connect_timeout_ms;
    int silence_timeout_ms; /* a segment without any answer for so long: the connection is given up;
                               0: none */
    const char *const *setup; /* statements run after each connect, NULL-terminated: "SET
                                 statement_timeout = 5000" */
};

struct connection_events {
    void (*on_ready)(void *arg); /* each time it becomes READY */
    void (*on_lost)(const struct error *err,
                    void *arg); /* each time it was not reached, or was lost; outstanding segments
                                   have had their on_end called with SEGMENT_LOST before */
};

struct connection *connection_new(struct event_base *base, const struct connection_options *options,
                                  const struct connection_events *events, void *arg);
/* May be called from its own callbacks. Outstanding segments end with SEGMENT_LOST. NULL is
 * accepted. */
void connection_free(struct connection *connection);

/* Starts to connect; from then on it stays connected or tries to. */
void connection_open(struct connection *connection);
/* Closes at once and stays IDLE. */
void connection_close(struct connection *connection);
enum connection_state connection_state(const struct connection *connection);
const char *connection_state_name(enum connection_state state);
/* Why it is not READY, "" when it is. */
const char *connection_trouble(const struct connection *connection);

struct statement {
    const char *sql; /* prepared on first use on this connection and kept by its text */
    int n_params;
    const unsigned *types; /* NULL: PostgreSQL decides */
    const char *const *values;
    const int *lengths; /* NULL when all are text */
    const int *formats; /* NULL when all are text; else 1 is binary */
    bool describe;      /* only prepared and described: `on_result` gets PQnparams(). Not together
                           with the same text in another open segment */
};

enum segment_outcome {
    SEGMENT_DONE,   /* committed */
    SEGMENT_FAILED, /* rolled back: see the failure */
    SEGMENT_LOST,   /* the connection went away: committed or not, nobody knows until asked */
};

struct segment_failure {
    char sqlstate[6];
    char constraint[64]; /* "" when PostgreSQL named none */
    char table[64];
    size_t statement; /* number of the statement in its segment, from 0 */
    struct error err; /* severity, message, detail */
};

/* `on_result` (may be NULL) gets each statement's PGresult, borrowed, when it succeeded. The
 * statement is sent at once or with the next write; values are copied by libpq. Only when READY;
 * false otherwise. */
typedef void (*statement_result_cb)(const struct pg_result *result, void *arg);
typedef void (*segment_end_cb)(enum segment_outcome outcome, const struct segment_failure *failure,
                               void *arg);

bool connection_send(struct connection *connection, const struct statement *statement,
                     statement_result_cb on_result, void *arg) __attribute__((warn_unused_result));
/* Ends the segment; `on_end` is called exactly once. Only when READY; false otherwise, and then
 * nothing is called. */
bool connection_sync(struct connection *connection, segment_end_cb on_end, void *arg)
    __attribute__((warn_unused_result));
/* Segments that have not ended. */
size_t connection_in_flight(const struct connection *connection);

/* What a SQLSTATE asks of the caller (design, section 3). */
enum sqlstate_class {
    SQLSTATE_RETRY, /* wait and try again, reject nothing: 08, 25006, 40, 53 except 53400, 55, 57
                       except 57014, 58, 23514 that names no constraint */
    SQLSTATE_REPREPARE, /* 0A000, 26000: forget prepared statements, try once more */
    SQLSTATE_HALVE,     /* 57014, 53400: with fewer rows; a single row is refused */
    SQLSTATE_SWAP,      /* CS001: the offsets were moved by another worker (raised by
                           ingest_move_offsets) */
    SQLSTATE_DATA,      /* everything else: find the row */
};
enum sqlstate_class sqlstate_classify(const char *sqlstate, const char *constraint);
/* Forgets which statements are prepared (DISCARDs them with the next segment). */
void connection_forget_prepared(struct connection *connection);

#endif
