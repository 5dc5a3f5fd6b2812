#include "app/commands.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/app.h"
#include "app/ask.h"
#include "app/fit.h"
#include "app/reload.h"

#define HEALTH_TIMEOUT_S 3

int command_fail(int code, const struct error *err)
{
    fprintf(stderr, "%s\n", err->text);
    return code;
}

struct rules_generation *command_load(const struct settings *settings, struct error *err)
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

    fit_load_schema(control, def, NULL, true, on_schema, &answer);
    event_base_dispatch(answer.base);
    control_free(control);
    free(database);
    event_base_free(answer.base);
    return answer;
}

int command_check(const struct settings *settings)
{
    struct error err = {""};
    struct rules_generation *generation = command_load(settings, &err);
    if (!generation)
        return command_fail(EXIT_FAILED, &err);

    const struct rules_def *def = rules_generation_def(generation);
    int code = EXIT_OK;
    struct schema_answer answer = read_schema(settings, def);
    if (answer.schema && !fit_check(answer.schema, def, &err))
        code = command_fail(EXIT_FAILED, &err);
    else
        printf("ok: %zu files, %zu streams, %zu endpoints, examples passed, hash %.12s; %s%s\n",
               generation->snapshot->n_files, def->n_streams, def->n_endpoints,
               generation->snapshot->hash,
               answer.schema ? "fits the schema" : "schema not checked, no database: ",
               answer.schema ? "" : answer.err.text);
    if (answer.schema && code == EXIT_OK)
        fit_warn(answer.schema, def);
    schema_release(answer.schema);
    rules_generation_free(generation);
    return code;
}

/* ---- health ---- */

int command_health(const struct settings *settings)
{
    struct error err = {""};
    struct buffer answer = {0};
    int port = settings->http_threads > 0 ? settings->port : settings->admin_port;
    int code = EXIT_FAILED;
    if (ask(port, "GET", "/readyz", HEALTH_TIMEOUT_S, &answer, &err)) {
        code = ask_status(&answer) == 200 ? EXIT_OK : EXIT_FAILED;
        fputs(ask_body(&answer), stdout);
    } else {
        code = command_fail(EXIT_FAILED, &err);
    }
    buffer_free(&answer);
    return code;
}
