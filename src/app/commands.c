#include "app/commands.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "app/app.h"
#include "app/reload.h"
#include "base/memory.h"

#define HEALTH_TIMEOUT_S 3

static int fail(int code, const struct error *err)
{
    fprintf(stderr, "%s\n", err->text);
    return code;
}

static struct rules_generation *load(const struct settings *settings, struct error *err)
{
    struct rules_options options = reload_rules_options(settings, NULL);
    struct rules_snapshot *snapshot = rules_snapshot_read(settings->lua_dir, err);
    return snapshot ? rules_generation_build(snapshot, 1, &options, err) : NULL;
}

/* ---- check ---- */

struct schema_answer {
    struct event_base *base;
    struct schema *schema;
    struct error err;
};

static void on_schema(struct schema *schema, const struct error *err, void *arg)
{
    struct schema_answer *answer = arg;
    answer->schema = schema;
    if (!schema)
        answer->err = *err;
    event_base_loopbreak(answer->base);
}

static struct schema_answer read_schema(const struct settings *settings,
                                        const struct rules_def *def)
{
    struct schema_answer answer = {.base = event_base_new()};
    char *database = settings_database(settings);
    struct control *control = control_new(answer.base, database, settings->db_connect_timeout_ms);
    size_t n;
    const char **tables = reload_tables(def, &n);

    control_load_schema(control, tables, n, on_schema, &answer);
    event_base_dispatch(answer.base);
    free(tables);
    control_free(control);
    free(database);
    event_base_free(answer.base);
    return answer;
}

int command_check(const struct settings *settings)
{
    struct error err = {""};
    struct rules_generation *generation = load(settings, &err);
    if (!generation)
        return fail(EXIT_FAILED, &err);

    const struct rules_def *def = rules_generation_def(generation);
    int code = EXIT_OK;
    struct schema_answer answer = read_schema(settings, def);
    if (answer.schema && !reload_check_schema(answer.schema, def, &err))
        code = fail(EXIT_FAILED, &err);
    else
        printf("ok: %zu files, %zu streams, %zu endpoints, examples passed, hash %.12s; %s%s\n",
               generation->snapshot->n_files, def->n_streams, def->n_endpoints,
               generation->snapshot->hash,
               answer.schema ? "fits the schema" : "schema not checked, no database: ",
               answer.schema ? "" : answer.err.text);
    schema_release(answer.schema);
    rules_generation_free(generation);
    return code;
}

/* ---- try ---- */

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
    struct rules_generation *generation = load(settings, &err);
    if (!generation)
        return fail(EXIT_FAILED, &err);

    int code = EXIT_OK;
    size_t index;
    const struct rules_def *def = rules_generation_def(generation);
    if (find_stream(def, stream, &index, &err))
        try_lines(generation->states[0], index, def->streams[index].topic);
    else
        code = fail(EXIT_FAILED, &err);
    rules_generation_free(generation);
    return code;
}

/* ---- health ---- */

static bool ask_ready(int fd, char *answer, size_t size)
{
    static const char question[] =
        "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    size_t got = 0;
    ssize_t n;
    if (send(fd, question, sizeof question - 1, MSG_NOSIGNAL) != (ssize_t)(sizeof question - 1))
        return false;
    while (got < size - 1 && (n = recv(fd, answer + got, size - 1 - got, 0)) > 0)
        got += (size_t)n;
    answer[got] = '\0';
    return strncmp(answer, "HTTP/1.", 7) == 0;
}

int command_health(const struct settings *settings)
{
    struct timeval timeout = {HEALTH_TIMEOUT_S, 0};
    bool api = settings->http_threads > 0;
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)(api ? settings->port : settings->admin_port)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    char answer[4096] = "";
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return EXIT_FAILED;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);

    bool answered = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
                    ask_ready(fd, answer, sizeof answer);
    close(fd);
    if (!answered) {
        fprintf(stderr, "no answer on 127.0.0.1:%d\n", ntohs(address.sin_port));
        return EXIT_FAILED;
    }
    const char *body = strstr(answer, "\r\n\r\n");
    printf("%s\n", body ? body + 4 : answer);
    return strncmp(answer + 8, " 200", 4) == 0 ? EXIT_OK : EXIT_FAILED;
}
