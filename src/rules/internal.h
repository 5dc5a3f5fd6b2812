/* The state as the files of rules/ share it. Private to rules/. */
#ifndef RULES_INTERNAL_H
#define RULES_INTERNAL_H

#include <lua.h>

#include "base/log.h"
#include "rules/limits.h"
#include "rules/state.h"

/* What a table of a stream needs when a row arrives. Names are interned Lua strings, kept alive by
 * the registry: keys of rows are compared by address. */
struct rules_table {
    const char *name;
    int name_reference;
    const char **columns; /* in the order of table_def.columns */
    size_t *guesses;      /* the column that came as the n-th key of the last row */
};

/* The side of a stream that runs; its stream_def is what others see. References are luaL_ref()s. */
struct rules_stream {
    int map;
    int series; /* LUA_NOREF when there is none; so is the next */
    int track_key;
    bool wants_meta; /* map was declared with a second parameter */
    int *fields;     /* names of the fields */
    struct rules_table *tables;
    int examples; /* LUA_NOREF when there are none */
};

struct rules_endpoint {
    int request; /* LUA_NOREF: the parameters are those of the request */
    int reply;
    int *params; /* one for each query; LUA_NOREF: always run, without values */
    int examples;
    const char *component; /* name of its log lines */
};

struct rules_log_limit; /* keys of cs.log.limited */

struct rules_state {
    struct rules_limits limits; /* first: the allocator's user data is both */
    lua_State *L;
    struct rules_options options; /* env_allow is in `memory` */
    struct arena memory;          /* definitions and what belongs to them */
    struct rules_def def;
    struct rules_stream *streams;
    struct rules_endpoint *endpoints;
    struct reader *reader;
    struct json_parser *checker;           /* of JSON that rules make */
    struct buffer scratch;                 /* bytes on their way within one call */
    const struct rules_snapshot *snapshot; /* what `require` reads; NULL once loaded */
    const char *loading;                   /* file whose chunk runs; NULL: none */
    const char *component;                 /* of log lines in the running call */
    const char *request_id;                /* the same; NULL: it is about no request */
    bool rehearsing;                       /* examples run: nothing is logged or counted */
    struct rules_log_limit *log_limits;
    struct log_limit series_limit;         /* of lines about functions that name no series */
    void (*body)(lua_State *L, void *arg); /* of the entry that is running */
    void *arg;
};

static inline struct rules_limits *rules_limits_of(lua_State *L)
{
    void *limits;
    lua_getallocf(L, &limits);
    return limits;
}

static inline struct rules_state *rules_state_of(lua_State *L)
{
    return (struct rules_state *)rules_limits_of(L);
}

/* What is run, for limits, messages and counters. */
struct rules_entry {
    const char *file; /* "streams/market_data.lua" */
    const char *hook; /* "load", "map", "request", "params", "reply" */
    int limit_ms;
};

enum rules_outcome { RULES_DONE, RULES_RAISED, RULES_OUT_OF_TIME, RULES_OUT_OF_MEMORY };

/* Runs `body` protected and limited, with an empty stack. It may run twice: out of memory means a
 * full collection and one more try. Anything but RULES_DONE: `err` says what, beginning with the
 * file, and it is counted. */
enum rules_outcome rules_enter(struct rules_state *state, const struct rules_entry *entry,
                               void (*body)(lua_State *L, void *arg), void *arg, struct error *err)
    __attribute__((warn_unused_result));

/* A state with sandbox and limits in which nothing is loaded yet. */
struct rules_state *rules_state_bare(const struct rules_options *options, struct error *err);

/* Compiles and runs one file in an environment of its own; leaves what it returned on the stack,
 * one value. Raises. */
void rules_run_file(lua_State *L, const char *path, struct bytes text);

#endif
