/* The `examples` of rule files: run through the same functions as messages and requests. */
#include <lauxlib.h>
#include <math.h>

#include "rules/call.h"
#include "rules/compare.h"
#include "rules/json.h"
#include "rules/map.h"
#include "rules/sandbox.h"
#include "rules/shape.h"

#define PAIRS_MAX     64
#define TIMESTAMP_MAX 253402300799999.0 /* the end of the year 9999, in ms */

/* One example on its way. */
struct example {
    struct rules_state *state;
    struct arena arena;
    const char *file;
    int list;     /* reference to the examples of the file */
    size_t index; /* of the stream or endpoint */
    size_t number;
    /* of a stream */
    struct message message;
    const char *skip;   /* part of the expected reason */
    const char *reject; /* the same */
    struct bytes rows;  /* expected, as JSON; absent: none are expected */
    /* of an endpoint */
    struct request_view request;
    struct rules_call *call;
    int status;
    struct bytes body; /* expected, as JSON or as it is; absent: any */
};

static bool run(struct example *example, void (*body)(lua_State *L, void *arg), struct error *err)
{
    const struct rules_entry entry = {example->file, "example", example->state->options.load_ms};
    return rules_enter(example->state, &entry, body, example, err) == RULES_DONE;
}

/* Pushes the example's table. */
static int push_example(const struct shape *shape, const struct example *example)
{
    lua_State *L = shape->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, example->list);
    lua_rawgeti(L, -1, (int)example->number);
    shape_expect_table(shape, -1, "");
    return lua_gettop(L);
}

static struct shape shape_of(lua_State *L, struct example *example)
{
    return (struct shape){
        L, &example->arena,
        arena_printf(&example->arena, "%s: examples[%zu]", example->file, example->number)};
}

/* Any string, also an empty one; absent when it is nil. `where` names it. */
static struct bytes optional_bytes(const struct shape *shape, int index, const char *key,
                                   const char *where)
{
    struct bytes text = {0};
    lua_getfield(shape->L, index, key);
    if (lua_type(shape->L, -1) == LUA_TSTRING) {
        text.data = lua_tolstring(shape->L, -1, &text.size);
        text = arena_copy(shape->arena, text);
    } else if (!lua_isnil(shape->L, -1)) {
        shape_fail(shape, "%s: expected a string, got %s", where, luaL_typename(shape->L, -1));
    }
    lua_pop(shape->L, 1);
    return text;
}

/* A whole number from `least` to `most`. False: there is none. */
static bool optional_whole(const struct shape *shape, int index, const char *key, double least,
                           double most, double *number)
{
    lua_State *L = shape->L;
    lua_getfield(L, index, key);
    bool is_there = !lua_isnil(L, -1);
    *number = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
    if (is_there && !(*number >= least && *number <= most && *number == floor(*number)))
        shape_fail(shape, "%s: expected a whole number from %.0f to %.0f, got %s", key, least, most,
                   lua_type(L, -1) == LUA_TNUMBER ? lua_tostring(L, -1) : luaL_typename(L, -1));
    lua_pop(L, 1);
    return is_there;
}

static struct bytes encode(const struct shape *shape, int index)
{
    struct buffer *out = &rules_state_of(shape->L)->scratch;
    buffer_clear(out);
    rules_json_encode(shape->L, index, out);
    return arena_copy(shape->arena, buffer_bytes(out));
}

/* ---- streams ---- */

/* {"table":[{"column":value}]} with tables and columns in the order of their names, without NULLs.
 */
static void append_rows(struct buffer *out, const struct row *rows, size_t n_rows)
{
    const struct table_def *table = NULL;
    buffer_append_byte(out, '{');
    for (size_t i = 0; i < n_rows; i++) {
        if (rows[i].table != table) {
            buffer_append_string(out, table ? "]," : "");
            buffer_append_json(out, bytes_of_string(rows[i].table->name));
            buffer_append_string(out, ":[");
        } else {
            buffer_append_byte(out, ',');
        }
        table = rows[i].table;
        buffer_append_byte(out, '{');
        bool first = true;
        for (size_t column = 0; column < table->n_columns; column++) {
            if (rows[i].values[column].is_null)
                continue;
            buffer_append_string(out, first ? "" : ",");
            buffer_append_json(out, bytes_of_string(table->columns[column].name));
            buffer_append_byte(out, ':');
            rules_value_append_json(out, &rows[i].values[column]);
            first = false;
        }
        buffer_append_byte(out, '}');
    }
    buffer_append_string(out, table ? "]}" : "}");
}

static struct bytes rows_json(struct arena *arena, const struct row *rows, size_t n_rows)
{
    struct buffer out = {0};
    append_rows(&out, rows, n_rows);
    struct bytes text = arena_copy(arena, buffer_bytes(&out));
    buffer_free(&out);
    return text;
}

static void read_stream_example(lua_State *L, void *arg)
{
    static const char *const known[] = {"message", "key",    "timestamp", "rows",
                                        "skip",    "reject", NULL};
    struct example *example = arg;
    struct rules_state *state = example->state;
    const struct stream_def *stream = &state->def.streams[example->index];
    const struct shape shape = shape_of(L, example);
    int index = push_example(&shape, example);
    shape_check_keys(&shape, index, "", known);
    example->message = (struct message){.topic = stream->topic, .timestamp_ms = -1};
    example->message.payload = optional_bytes(&shape, index, "message", "message");
    example->message.key = optional_bytes(&shape, index, "key", "key");
    double timestamp;
    if (optional_whole(&shape, index, "timestamp", 0, TIMESTAMP_MAX, &timestamp))
        example->message.timestamp_ms = (int64_t)timestamp;
    if (!example->message.payload.data)
        shape_fail(&shape, "message: expected a string, got nil");
    example->skip = shape_optional_string(&shape, index, "skip", "skip");
    example->reject = shape_optional_string(&shape, index, "reject", "reject");
    example->rows = (struct bytes){0};
    if (shape_optional_table(&shape, index, "rows", "rows")) {
        struct taker taker = {
            .L = L, .arena = &example->arena, .size_left = state->limits.memory_max};
        struct row *rows;
        size_t n_rows;
        struct error reason;
        if (!rules_take_rows(&taker, stream, &state->streams[example->index], lua_gettop(L), &rows,
                             &n_rows, &reason))
            shape_fail(&shape, "rows: %s", reason.text);
        example->rows = rows_json(&example->arena, rows, n_rows);
    }
    if ((example->rows.data != NULL) + (example->skip != NULL) + (example->reject != NULL) != 1)
        shape_fail(&shape, "expected one of rows, skip and reject");
}

/* What is expected, for messages. */
static const char *expected_text(struct example *example)
{
    if (example->rows.data)
        return arena_printf(&example->arena, "rows %.*s", (int)example->rows.size,
                            example->rows.data);
    return arena_printf(&example->arena, "%s \"%s\"", example->skip ? "skip" : "reject",
                        example->skip ? example->skip : example->reject);
}

static bool check_stream_result(struct example *example, const struct map_result *result,
                                struct error *err)
{
    if (result->verdict == MAP_ROWS) {
        struct bytes got = rows_json(&example->arena, result->rows, result->n_rows);
        if (!example->rows.data)
            return error_set(err, "expected %s, got rows %.*s", expected_text(example),
                             (int)got.size, got.data);
        return rules_compare_json(example->rows, got, err) || error_context(err, "rows");
    }
    bool is_skip = result->verdict == MAP_SKIP;
    const char *part = is_skip ? example->skip : example->reject;
    if (part && memmem(result->reason.data, result->reason.size, part, strlen(part)))
        return true;
    return error_set(err, "expected %s, got %s \"%.*s\"%s%s", expected_text(example),
                     is_skip ? "skip" : "reject", (int)result->reason.size, result->reason.data,
                     is_skip ? "" : " at stage ", is_skip ? "" : reject_stage_name(result->stage));
}

static bool run_stream_example(struct example *example, struct error *err)
{
    if (!run(example, read_stream_example, err))
        return false;
    struct map_result result;
    rules_map(example->state, example->index, &example->message, &example->arena, &result);
    return check_stream_result(example, &result, err) ||
           error_context(err, "%s: examples[%zu]", example->file, example->number);
}

/* ---- endpoints ---- */

static void read_pairs(const struct shape *shape, int index, const char *key, struct pair *pairs,
                       size_t *n_pairs)
{
    lua_State *L = shape->L;
    const char *where = arena_printf(shape->arena, "request.%s", key);
    if (!shape_optional_table(shape, index, key, where))
        return;
    size_t n_names;
    int table = lua_gettop(L);
    rules_unfreeze(L, table);
    const char **names = shape_names(shape, table, where, &n_names);
    if (n_names > PAIRS_MAX - *n_pairs)
        shape_fail(shape, "%s: expected at most %d values", where, PAIRS_MAX);
    for (size_t i = 0; i < n_names; i++) {
        const char *name = arena_printf(shape->arena, "%s.%s", where, names[i]);
        pairs[(*n_pairs)++] =
            (struct pair){bytes_of_string(names[i]), optional_bytes(shape, table, names[i], name)};
    }
    lua_pop(L, 1);
}

/* An example shows that what the file says of its parameters is all that it reads. */
static void expect_declared(const struct shape *shape, const struct endpoint_def *def,
                            struct bytes name)
{
    bool is_declared = def->n_params == 0;
    for (size_t i = 0; i < def->n_params; i++)
        is_declared |= bytes_equal(bytes_of_string(def->params[i].name), name);
    if (!is_declared)
        shape_fail(shape, "request.query.%s: is not among the parameters of the file", name.data);
}

static void read_request(const struct shape *shape, int index, struct example *example)
{
    static const char *const known[] = {"query", "params", "claims", "body", NULL};
    lua_State *L = shape->L;
    const struct endpoint_def *def = &example->state->def.endpoints[example->index];
    struct pair *pairs = arena_alloc(shape->arena, PAIRS_MAX * sizeof(*pairs));
    example->request = (struct request_view){
        .method = def->method, .path = def->paths[0], .params = pairs, .request_id = "example"};
    if (!shape_optional_table(shape, index, "request", "request"))
        return;
    int request = lua_gettop(L);
    shape_check_keys(shape, request, "request", known);
    read_pairs(shape, request, "params", pairs, &example->request.n_params);
    size_t n_path = example->request.n_params;
    for (size_t i = 0; i < n_path; i++)
        if (!rules_is_path_param(def, pairs[i].name))
            shape_fail(shape, "request.params.%s: no path of the file has it", pairs[i].name.data);
    read_pairs(shape, request, "query", pairs, &example->request.n_params);
    for (size_t i = n_path; i < example->request.n_params; i++)
        expect_declared(shape, def, pairs[i].name);
    if (shape_optional_table(shape, request, "claims", "request.claims")) {
        example->request.claims = encode(shape, lua_gettop(L));
        lua_pop(L, 1);
    }
    lua_getfield(L, request, "body");
    if (lua_istable(L, -1))
        example->request.body = encode(shape, lua_gettop(L));
    else
        example->request.body = optional_bytes(shape, request, "body", "request.body");
    lua_settop(L, request - 1);
}

/* The expected body, as reply() would have put it together. */
static struct bytes encode_body(const struct shape *shape, int index)
{
    lua_State *L = shape->L;
    struct buffer *out = &rules_state_of(L)->scratch;
    lua_getfield(L, index, "body");
    if (!lua_istable(L, -1))
        return optional_bytes(shape, index, "body", "body");
    buffer_clear(out);
    rules_json_encode(L, -1, out);
    if (shape_optional_table(shape, index, "volatile", "volatile"))
        rules_append_fields(L, lua_gettop(L), out);
    return arena_copy(shape->arena, buffer_bytes(out));
}

static void read_endpoint_example(lua_State *L, void *arg)
{
    static const char *const known[] = {"request", "results", "status", "body", "volatile", NULL};
    struct example *example = arg;
    const struct shape shape = shape_of(L, example);
    int index = push_example(&shape, example);
    shape_check_keys(&shape, index, "", known);
    read_request(&shape, index, example);
    double status;
    if (!optional_whole(&shape, index, "status", 200, 599, &status))
        shape_fail(&shape, "status: expected a number, got nil");
    example->status = (int)status;
    example->body = encode_body(&shape, index);
}

/* The rows of the query that runs are those of the example; none given: an empty result. */
static void give_result(lua_State *L, void *arg)
{
    struct example *example = arg;
    const struct shape shape = shape_of(L, example);
    int number = (int)example->call->current + 1;
    rules_call_push_kept(L, example->call, KEPT_RESULTS);
    int results = lua_gettop(L);
    int index = push_example(&shape, example);
    if (!shape_optional_table(&shape, index, "results", "results"))
        shape_fail(&shape, "results: expected rows of query %d, got nil", number);
    lua_rawgeti(L, -1, number);
    if (!lua_istable(L, -1))
        shape_fail(&shape, "results[%d]: expected a list of rows (the query is run), got %s",
                   number, luaL_typename(L, -1));
    lua_rawseti(L, results, number);
}

/* Runs the call to its answer. False: `err` says what broke. */
static bool answer_example(struct example *example, struct reply *reply, struct error *err)
{
    example->call = rules_call_begin(example->state, example->index, &example->request, reply);
    if (!example->call)
        return true;
    int again_ms;
    for (;;) {
        struct query_params query;
        switch (rules_call_next(example->call, &query, reply)) {
        case CALL_QUERY:
            if (!run(example, give_result, err))
                return false;
            break;
        case CALL_REPLY:
            /* Who wants to wait is told at once that there is no time: rows are as they are. */
            again_ms = rules_call_reply(example->call, reply);
            if (again_ms == 0 || !rules_call_again(example->call, again_ms, true, reply))
                return true;
            break;
        case CALL_ANSWERED:
            return true;
        }
    }
}

static bool check_reply(struct example *example, const struct reply *reply, struct error *err)
{
    if (reply->failed)
        return error_set(err, "%s", reply->err.text);
    struct bytes got = buffer_bytes(&reply->body);
    if (!got.data)
        got = bytes_of_string("");
    if (reply->status != example->status)
        return error_set(err, "expected status %d, got %d with %.*s", example->status,
                         reply->status, (int)got.size, got.data);
    if (!example->body.data)
        return true;
    return rules_compare_json(example->body, got, err) || error_context(err, "body");
}

static bool run_endpoint_example(struct example *example, struct error *err)
{
    struct reply reply = {0};
    if (!run(example, read_endpoint_example, err))
        return false;
    bool done = answer_example(example, &reply, err);
    bool good = done && check_reply(example, &reply, err);
    if (done && !good)
        error_context(err, "%s: examples[%zu]", example->file, example->number);
    rules_call_free(example->call);
    example->call = NULL;
    buffer_free(&reply.body);
    return good;
}

/* ---- all ---- */

static size_t count_examples(lua_State *L, int list)
{
    /* A reference to a table: neither call can raise. */
    lua_rawgeti(L, LUA_REGISTRYINDEX, list);
    size_t size = lua_objlen(L, -1);
    lua_pop(L, 1);
    return size;
}

static bool run_examples(struct rules_state *state, const char *file, int list, size_t index,
                         bool (*run_example)(struct example *example, struct error *err),
                         struct error *err)
{
    if (list == LUA_NOREF)
        return true;
    struct example example = {.state = state, .file = file, .list = list, .index = index};
    size_t size = count_examples(state->L, list);
    bool good = true;
    for (size_t number = 1; good && number <= size; number++) {
        example.number = number;
        good = run_example(&example, err);
        arena_reset(&example.arena);
    }
    arena_free(&example.arena);
    return good;
}

static bool run_all_examples(struct rules_state *state, struct error *err)
{
    for (size_t i = 0; i < state->def.n_streams; i++)
        if (!run_examples(state, state->def.streams[i].file, state->streams[i].examples, i,
                          run_stream_example, err))
            return false;
    for (size_t i = 0; i < state->def.n_endpoints; i++)
        if (!run_examples(state, state->def.endpoints[i].file, state->endpoints[i].examples, i,
                          run_endpoint_example, err))
            return false;
    return true;
}

bool rules_state_run_examples(struct rules_state *state, struct error *err)
{
    state->rehearsing = true;
    bool good = run_all_examples(state, err);
    state->rehearsing = false;
    return good;
}
