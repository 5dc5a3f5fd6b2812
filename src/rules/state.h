/* One Lua state with all rules of one snapshot loaded: sandboxed, limited in CPU time and memory,
 * interpreted. Used by one thread at a time. Nothing that a rule does gets past these functions: a
 * script error, a breach of a limit or a wrong return value is a result, the process goes on, and
 * the state is usable after. */
#ifndef RULES_STATE_H
#define RULES_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/bytes.h"
#include "base/error.h"
#include "metrics/metrics.h"
#include "model/result.h"
#include "model/table.h"
#include "rules/definition.h"
#include "rules/snapshot.h"

struct rules_state;

struct rules_options {
    int load_ms, map_ms, request_ms, reply_ms; /* CPU time of one call */
    size_t memory_bytes;                       /* of one state */
    size_t message_max_bytes; /* larger messages are rejected before Lua sees them */
    const char *env_allow; /* comma list of variables that cs.env may read beyond the built-in ones;
                              NULL: none */
    /* paths that no endpoint may have, NULL-terminated, for ever; NULL: none */
    const char *const *taken_paths;
    /* for cs.counter and the rules' own counters; NULL: not counted (check, try) */
    struct metrics *metrics;
};

/* Builds the state: sandbox, limits, init.lua and all that it requires, definitions extracted and
 * checked for shape. NULL with `err` as "file:line: what" or "file: field: what was expected".
 * `snapshot` is copied where needed. */
struct rules_state *rules_state_new(const struct rules_snapshot *snapshot,
                                    const struct rules_options *options, struct error *err)
    __attribute__((warn_unused_result));
void rules_state_free(struct rules_state *state);

const struct rules_def *rules_state_def(const struct rules_state *state);

/* Runs every `examples` entry of every file. False: `err` names file, number of the example, what
 * came and what was expected. */
bool rules_state_run_examples(struct rules_state *state, struct error *err)
    __attribute__((warn_unused_result));

/* At start: proves on a scratch state that runaway scripts are stopped on this machine's LuaJIT. */
bool rules_prove_limits(const struct rules_options *options, struct error *err)
    __attribute__((warn_unused_result));

/* ---- streams ---- */

struct message {
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms; /* -1: none */
    struct bytes key;     /* absent: none */
    struct bytes payload; /* absent: a tombstone */
};

enum map_verdict { MAP_ROWS, MAP_SKIP, MAP_REJECT };

/* Where a message was refused; the names in rejected_messages.stage. */
enum reject_stage { STAGE_DECODE, STAGE_MAP, STAGE_ROW, STAGE_DATABASE };
const char *reject_stage_name(enum reject_stage stage); /* "decode", "map", "row", "database" */

struct map_result {
    enum map_verdict verdict;
    enum reject_stage stage; /* MAP_REJECT */
    struct bytes reason;     /* MAP_SKIP, MAP_REJECT */
    struct row *rows;        /* MAP_ROWS: at least one; ordered by table. STAGE_DATABASE: those that
                                were refused */
    size_t n_rows;
    /* what stream_def.identify_* could read, whatever the verdict; absent when not */
    struct bytes symbol;
    bool has_sequence;
    int64_t sequence;
    /* Not MAP_ROWS: the series that its number belongs to (model/series.h) and the table's name,
     * where `series` or `track_key` of the stream could say; else absent. */
    struct bytes series_table;
    struct bytes series;
};

/* Reads and maps one message by stream number `stream`. Everything in `*result` lives in `arena`
 * (or points into the payload). A tombstone is MAP_SKIP "tombstone"; an oversized payload
 * MAP_REJECT. */
void rules_map(struct rules_state *state, size_t stream, const struct message *message,
               struct arena *arena, struct map_result *result);

/* ---- endpoints ---- */

struct pair {
    struct bytes name;
    struct bytes value;
};

struct request_view {
    const char *method;
    const char *path;
    const struct pair *params; /* path parameters, then query parameters, decoded, UTF-8 without
                                  NUL, no name twice; a name that one of the endpoint's paths has
                                  as :name is a path parameter */
    size_t n_params;
    struct bytes claims; /* the verified token's claims as JSON; absent without auth */
    struct bytes body;   /* absent: none */
    const char *request_id;
};

struct reply {
    int status;
    struct buffer body; /* JSON; the caller owns and frees it */
    size_t lasting;     /* so many bytes at its beginning make its ETag; 0: all */
    bool failed; /* the rule broke (script error, limit, wrong return): status is 500, body the
                    generic error, and `err` says for the log what happened */
    struct error err;
};

struct query_params {
    const struct query_def *query;
    const char *const *values; /* text format, NULL for SQL NULL; query->n_types of them */
};

/* One request between request() and reply(). Belongs to its state; several may be open at once in
 * one state. */
struct rules_call;

/* Runs request(). NULL: it is answered already, `*reply` says how. */
struct rules_call *rules_call_begin(struct rules_state *state, size_t endpoint,
                                    const struct request_view *request, struct reply *reply);

enum call_step {
    CALL_QUERY,    /* run `*query`, hand the rows to rules_call_result(), ask again */
    CALL_REPLY,    /* no more queries: rules_call_reply() */
    CALL_ANSWERED, /* params() broke or answered: `*reply` says how */
};

/* The next step; skipped queries are passed over. `*query` is valid until the next call on this
 * rules_call. */
enum call_step rules_call_next(struct rules_call *call, struct query_params *query,
                               struct reply *reply);
/* Rows of the query that rules_call_next gave last. False: they broke a limit, `*reply` is the
 * answer. */
bool rules_call_result(struct rules_call *call, const struct result *result, struct reply *reply)
    __attribute__((warn_unused_result));
/* > 0: no answer yet, the rule wants its queries to be run again in so many milliseconds: then
 * rules_call_again(), never on a call that was told to be final. 0: `*reply` is the answer. */
int rules_call_reply(struct rules_call *call, struct reply *reply)
    __attribute__((warn_unused_result));
/* Begins again behind request(), with req.waited_ms and req.final set. A rule that wants to wait
 * although it is final breaks. False: `*reply` is the answer. */
bool rules_call_again(struct rules_call *call, int waited_ms, bool is_final, struct reply *reply)
    __attribute__((warn_unused_result));
void rules_call_free(struct rules_call *call);

#endif
