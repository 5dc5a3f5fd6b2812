#include "app/admin_rules.h"

#include <stdlib.h>

#include "app/fit.h"
#include "base/memory.h"

struct admin_rules {
    struct reload *reload;
    struct control *control;
    const struct settings *settings;
};

/* A candidate that waits for the schema. */
struct check {
    struct admin_request *request;
    struct rules_generation *candidate;
};

static void answer(struct admin_request *request, int status, struct buffer *json)
{
    admin_request_answer(request, status, buffer_bytes(json));
    buffer_free(json);
}

static void on_get_rules(struct admin_request *request, void *arg)
{
    struct admin_rules *admin = arg;
    struct buffer json = {0};
    reload_describe(admin->reload, &json);
    answer(request, 200, &json);
}

/* 200 when the wanted rules run now, 409 when they were held back or there is nothing to go back
 * to, 422 when they are broken. */
static void on_reloaded(const struct reload_result *result, void *arg)
{
    static const char *const words[] = {
        [RELOAD_PUBLISHED] = "published",
        [RELOAD_UNCHANGED] = "unchanged",
        [RELOAD_HELD_BACK] = "held back",
        [RELOAD_FAILED] = "failed",
    };
    static const int statuses[] = {
        [RELOAD_PUBLISHED] = 200,
        [RELOAD_UNCHANGED] = 200,
        [RELOAD_HELD_BACK] = 409,
        [RELOAD_FAILED] = 422,
    };
    struct buffer json = {0};
    buffer_printf(&json, "{\"outcome\":\"%s\",\"generation\":%llu,\"hash\":\"%s\"",
                  words[result->outcome], (unsigned long long)result->generation, result->hash);
    if (result->outcome == RELOAD_FAILED || result->outcome == RELOAD_HELD_BACK) {
        buffer_append_string(&json, ",\"error\":");
        buffer_append_json(&json, bytes_of_string(result->err->text));
    }
    if (result->trouble) {
        buffer_append_string(&json, ",\"trouble\":");
        buffer_append_json(&json, bytes_of_string(result->trouble->text));
    }
    buffer_append_string(&json, "}");
    answer(arg, statuses[result->outcome], &json);
}

static void on_post_reload(struct admin_request *request, void *arg)
{
    struct admin_rules *admin = arg;
    struct bytes force = admin_request_param(request, "force");
    reload_request(admin->reload, RELOAD_ADMIN, bytes_equal(force, bytes_of_string("1")),
                   on_reloaded, request);
}

static void on_post_rollback(struct admin_request *request, void *arg)
{
    struct admin_rules *admin = arg;
    reload_request(admin->reload, RELOAD_ROLLBACK, false, on_reloaded, request);
}

static void check_answer(struct check *check, bool ok, const char *schema, const struct error *err)
{
    struct buffer json = {0};
    buffer_printf(&json, "{\"ok\":%s,\"hash\":\"%s\",\"schema\":\"%s\"", ok ? "true" : "false",
                  check->candidate->snapshot->hash, schema);
    if (!ok) {
        buffer_append_string(&json, ",\"error\":");
        buffer_append_json(&json, bytes_of_string(err->text));
    }
    buffer_append_string(&json, "}");
    answer(check->request, ok ? 200 : 422, &json);
    rules_generation_free(check->candidate);
    free(check);
}

static void on_check_schema(struct schema *schema, const struct error *trouble, void *arg)
{
    struct check *check = arg;
    struct error err = {""};
    (void)trouble;
    if (!schema) {
        check_answer(check, true, "not checked, the database is away", NULL);
        return;
    }
    bool fits = fit_check(schema, rules_generation_def(check->candidate), &err);
    schema_release(schema);
    check_answer(check, fits, "checked", &err);
}

/* A tar in the body, or without one what is on disk: loaded, examples run, held against the schema;
 * nothing is published. */
static void on_post_check(struct admin_request *request, void *arg)
{
    struct admin_rules *admin = arg;
    struct bytes body = admin_request_body(request);
    struct rules_options options = reload_rules_options(admin->settings, NULL);
    struct error err = {""};
    struct rules_generation *candidate = NULL;
    struct rules_snapshot *snapshot = body.size
                                          ? rules_snapshot_from_tar(body, &err)
                                          : rules_snapshot_read(admin->settings->lua_dir, &err);
    if (snapshot)
        candidate = rules_generation_build(snapshot, 1, &options, &err);
    if (!candidate) {
        struct buffer json = {0};
        buffer_append_string(&json, "{\"ok\":false,\"error\":");
        buffer_append_json(&json, bytes_of_string(err.text));
        buffer_append_string(&json, "}");
        answer(request, 422, &json);
        return;
    }
    struct check *check = memory_zero(1, sizeof *check);
    check->request = request;
    check->candidate = candidate;
    fit_load_schema(admin->control, rules_generation_def(candidate), NULL, true, on_check_schema,
                    check);
}

struct admin_rules *admin_rules_register(struct admin_server *server, struct reload *reload,
                                         struct control *control, const struct settings *settings)
{
    struct admin_rules *admin = memory_zero(1, sizeof *admin);
    admin->reload = reload;
    admin->control = control;
    admin->settings = settings;
    admin_server_on(server, "GET", "/admin/rules", on_get_rules, admin);
    admin_server_on(server, "POST", "/admin/rules/reload", on_post_reload, admin);
    admin_server_on(server, "POST", "/admin/rules/rollback", on_post_rollback, admin);
    admin_server_on(server, "POST", "/admin/rules/check", on_post_check, admin);
    return admin;
}

void admin_rules_free(struct admin_rules *admin)
{
    free(admin);
}
