/* core-service try: what the rules on disk make of a message or a request. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/app.h"
#include "app/ask.h"
#include "app/commands.h"
#include "base/clock.h"
#include "http/server.h"

/* ---- a message ---- */

static void print_value(struct buffer *json, const struct value *value)
{
    if (value->is_null) {
        buffer_append_string(json, "null");
        return;
    }
    switch (value->type) {
    case VALUE_INT8:
    case VALUE_TIME:
        buffer_printf(json, "%lld", (long long)value->int8);
        break;
    case VALUE_FLOAT8:
        buffer_append_double(json, value->float8);
        break;
    case VALUE_BOOL:
        buffer_append_string(json, value->boolean ? "true" : "false");
        break;
    case VALUE_NUMERIC:
    case VALUE_JSON:
        buffer_append(json, value->text.data, value->text.size);
        break;
    case VALUE_TEXT:
        buffer_append_json(json, value->text);
        break;
    }
}

static void print_row(struct buffer *json, const struct row *row)
{
    buffer_append_string(json, "{");
    for (size_t c = 0; c < row->table->n_columns; c++) {
        buffer_append_string(json, c ? "," : "");
        buffer_append_json(json, bytes_of_string(row->table->columns[c].name));
        buffer_append_string(json, ":");
        print_value(json, &row->values[c]);
    }
    buffer_append_string(json, "}");
}

/* Rows come ordered by table. */
static void print_rows(struct buffer *json, const struct map_result *result)
{
    buffer_append_string(json, "{\"rows\":{");
    for (size_t i = 0; i < result->n_rows; i++) {
        bool first = i == 0 || result->rows[i].table != result->rows[i - 1].table;
        if (first) {
            buffer_append_string(json, i ? "]," : "");
            buffer_append_json(json, bytes_of_string(result->rows[i].table->name));
            buffer_append_string(json, ":[");
        } else {
            buffer_append_string(json, ",");
        }
        print_row(json, &result->rows[i]);
    }
    buffer_append_string(json, "]}}");
}

static void print_result(const struct map_result *result)
{
    struct buffer json = {0};
    if (result->verdict == MAP_ROWS) {
        print_rows(&json, result);
    } else {
        buffer_append_string(&json, result->verdict == MAP_SKIP ? "{\"skip\":" : "{\"reject\":");
        buffer_append_json(&json, result->reason);
        if (result->verdict == MAP_REJECT)
            buffer_printf(&json, ",\"stage\":\"%s\"", reject_stage_name(result->stage));
        buffer_append_string(&json, "}");
    }
    printf("%s\n", json.data);
    fflush(stdout);
    buffer_free(&json);
}

static bool find_stream(const struct rules_def *def, const char *name, size_t *index,
                        struct error *err)
{
    struct buffer known = {0};
    for (*index = 0; *index < def->n_streams; (*index)++) {
        if (strcmp(def->streams[*index].name, name) == 0) {
            buffer_free(&known);
            return true;
        }
        buffer_printf(&known, " %s", def->streams[*index].name);
    }
    error_set(err, "no stream \"%s\"; there are:%s", name, known.data ? known.data : " none");
    buffer_free(&known);
    return false;
}

static void try_lines(struct rules_state *state, size_t stream, const char *topic)
{
    struct arena arena = {0};
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    for (int64_t offset = 0; (size = getline(&line, &capacity, stdin)) >= 0; offset++) {
        struct map_result result;
        if (size > 0 && line[size - 1] == '\n')
            size--;
        struct message message = {
            .topic = topic,
            .offset = offset,
            .timestamp_ms = -1,
            .payload = bytes_of(line, (size_t)size),
        };
        rules_map(state, stream, &message, &arena, &result);
        print_result(&result);
        arena_reset(&arena);
    }
    free(line);
    arena_free(&arena);
}

int command_try(const struct settings *settings, const char *stream)
{
    struct error err = {""};
    struct rules_generation *generation = command_load(settings, &err);
    if (!generation)
        return command_fail(EXIT_FAILED, &err);

    int code = EXIT_OK;
    size_t index;
    const struct rules_def *def = rules_generation_def(generation);
    if (find_stream(def, stream, &index, &err))
        try_lines(generation->states[0], index, def->streams[index].topic);
    else
        code = command_fail(EXIT_FAILED, &err);
    rules_generation_free(generation);
    return code;
}

/* ---- a request ---- */

static bool always_ready(struct buffer *reasons, void *arg)
{
    (void)reasons;
    (void)arg;
    return true;
}

/* The first connection to the database may still be on its way; without one the answer is a 503
 * that says so. */
static void await_pool(int port, int timeout_ms)
{
    int64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
    struct error err;
    int status = 0;
    while (status != 200 && clock_monotonic_ms() < deadline_ms) {
        struct buffer answer = {0};
        if (ask(port, "GET", "/readyz", 1, &answer, &err))
            status = ask_status(&answer);
        buffer_free(&answer);
        if (status != 200)
            usleep(20000);
    }
}

static int ask_rules(int port, const char *request, const struct settings *settings)
{
    struct error err = {""};
    struct buffer answer = {0};
    char method[16];
    int target = 0;
    int code = EXIT_FAILED;

    if (sscanf(request, "%15s %n", method, &target) != 1 || request[target] != '/') {
        error_set(&err, "expected 'METHOD /path?query', got '%s'", request);
        return command_fail(EXIT_OPERATOR, &err);
    }
    await_pool(port, settings->db_connect_timeout_ms);
    if (!ask(port, method, request + target, 30, &answer, &err)) {
        code = command_fail(EXIT_FAILED, &err);
    } else {
        fprintf(stderr, "%d\n", ask_status(&answer));
        code = ask_status(&answer) < 400 ? EXIT_OK : EXIT_FAILED;
        fputs(ask_body(&answer), stdout);
    }
    buffer_free(&answer);
    return code;
}

int command_try_endpoint(const struct settings *given, const char *request)
{
    struct settings settings = *given;
    struct error err = {""};
    struct rules_generation *generation = command_load(&settings, &err);
    if (!generation)
        return command_fail(EXIT_FAILED, &err);

    struct metrics *metrics = metrics_new();
    struct rules_registry *registry = rules_registry_new();
    struct http_options options = {
        .settings = &settings,
        .metrics = metrics,
        .rules = registry,
        .is_ready = always_ready,
    };
    settings.host = "127.0.0.1";
    settings.port = 0;
    settings.http_threads = 1;
    settings.jwt_secret = settings.jwt_public_key_file = "";
    settings.rate_limit_rps = 0;
    rules_registry_publish(registry, generation, 1);
    struct http_server *server = http_server_start(&options, &err);
    int code = server ? ask_rules(http_server_port(server), request, &settings)
                      : command_fail(EXIT_FAILED, &err);
    if (server) {
        http_server_drain(server);
        if (!http_server_join(server, settings.shutdown_timeout_ms))
            _Exit(code);
    }
    rules_registry_free(registry);
    metrics_free(metrics);
    return code;
}
