#include "app/admin_rejected.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "app/redrive_job.h"
#include "app/reload.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "model/value.h"
#include "store/rejected.h"

#define LIST_LIMIT     100 /* messages in one answer, unless asked otherwise, and at most */
#define LIST_LIMIT_MAX 1000
#define LIST_BYTES_MAX ((size_t)8 * 1024 * 1024)
#define SUMMARY_LIMIT  200

struct admin_rejected {
    struct event_base *base;
    struct rules_registry *registry;
    struct control *control;
    const struct settings *settings;
    struct redrive_job *job;       /* NULL: none runs */
    struct admin_request *request; /* that waits for the job */
};

static void answer(struct admin_request *request, int status, struct buffer *json)
{
    admin_request_answer(request, status, buffer_bytes(json));
    buffer_free(json);
}

/* ---- parameters ---- */

/* free() it; NULL when it was not given. */
static char *text_param(const struct admin_request *request, const char *name)
{
    struct bytes value = admin_request_param(request, name);
    return value.data ? memory_string_n(value.data, value.size) : NULL;
}

static bool number_param(const struct admin_request *request, const char *name, int64_t min,
                         int64_t max, int64_t *number, struct error *err)
{
    struct bytes text = admin_request_param(request, name);
    if (!text.data)
        return true;
    if (!value_parse_int8(text, number) || *number < min || *number > max)
        return error_set(err, "%s must be a number between %" PRId64 " and %" PRId64, name, min,
                         max);
    return true;
}

/* 0 or 1. */
static bool flag_param(const struct admin_request *request, const char *name, int64_t *flag,
                       struct error *err)
{
    return number_param(request, name, 0, 1, flag, err);
}

/* ---- GET /admin/rejected ---- */

static void append_optional(struct buffer *json, const char *name, struct bytes text)
{
    buffer_printf(json, ",\"%s\":", name);
    if (text.data)
        buffer_append_json(json, text);
    else
        buffer_append_string(json, "null");
}

/* Text as it is; anything else in base64, and said so. */
static void append_payload(struct buffer *json, const char *name, struct bytes payload)
{
    bool is_text = utf8_is_valid(payload);
    if (is_text) {
        append_optional(json, name, payload);
    } else {
        buffer_printf(json, ",\"%s\":\"", name);
        unsigned char *out = (unsigned char *)buffer_reserve(json, (payload.size + 2) / 3 * 4 + 1);
        json->size +=
            (size_t)EVP_EncodeBlock(out, (const unsigned char *)payload.data, (int)payload.size);
        buffer_append_string(json, "\"");
    }
    buffer_printf(json, ",\"%sIsBase64\":%s", name, is_text ? "false" : "true");
}

static void append_message(struct buffer *json, const struct rejected_message *message)
{
    buffer_printf(json, "{\"id\":%" PRId64 ",\"rejectedAt\":%" PRId64 ",\"stream\":", message->id,
                  message->rejected_at_ms);
    buffer_append_json(json, bytes_of_string(message->stream));
    append_optional(json, "topic", bytes_of_string(message->topic));
    buffer_printf(json, ",\"partition\":%" PRId32 ",\"offset\":%" PRId64, message->partition,
                  message->offset);
    append_optional(json, "stage", bytes_of_string(message->stage));
    append_optional(json, "reason", message->reason);
    append_optional(json, "sqlstate", bytes_of_string(message->sqlstate));
    append_optional(json, "rulesHash", bytes_of_string(message->rules_hash));
    append_optional(json, "symbol", message->symbol);
    if (message->has_sequence)
        buffer_printf(json, ",\"sequence\":%" PRId64, message->sequence);
    else
        buffer_append_string(json, ",\"sequence\":null");
    if (message->redriven)
        buffer_printf(json, ",\"redrivenAt\":%" PRId64, message->redriven_at_ms);
    else
        buffer_append_string(json, ",\"redrivenAt\":null");
    append_payload(json, "key", message->key);
    append_payload(json, "payload", message->payload);
    buffer_append_string(json, "}");
}

/* A question to PostgreSQL on its way. */
struct list {
    struct admin_request *request;
    size_t limit;
};

/* One more message than wanted was asked for: whether it came says whether there are more. So does
 * a page that was cut by its size. */
static void on_list(const struct rejected_message *messages, size_t n, const struct error *err,
                    void *arg)
{
    struct list *list = arg;
    struct buffer json = {0};
    if (!messages) {
        admin_request_fail(list->request, 503, "%s", err->text);
        free(list);
        return;
    }
    size_t bytes = 0;
    size_t count = n < list->limit ? n : list->limit;
    buffer_printf(&json, "{\"count\":%zu,\"data\":[", count);
    for (size_t i = 0; i < n; i++) {
        bytes += messages[i].payload.size;
        if (i >= count)
            break;
        buffer_append_string(&json, i ? "," : "");
        append_message(&json, &messages[i]);
    }
    bool more = n > count || bytes >= LIST_BYTES_MAX;
    buffer_append_string(&json, "],\"nextBefore\":");
    if (more)
        buffer_printf(&json, "%" PRId64 "}", messages[count - 1].id);
    else
        buffer_append_string(&json, "null}");
    answer(list->request, 200, &json);
    free(list);
}

static void on_get_rejected(struct admin_request *request, void *arg)
{
    struct admin_rejected *admin = arg;
    int64_t limit = LIST_LIMIT, before = INT64_MAX, redriven = -1;
    struct error err = {""};
    if (!number_param(request, "limit", 1, LIST_LIMIT_MAX, &limit, &err) ||
        !number_param(request, "before", 0, INT64_MAX, &before, &err) ||
        !flag_param(request, "redriven", &redriven, &err)) {
        admin_request_fail(request, 400, "%s", err.text);
        return;
    }
    char *stream = text_param(request, "stream");
    char *stage = text_param(request, "stage");
    char *reason = text_param(request, "reason");
    const struct rejected_filter filter = {
        .group_id = admin->settings->kafka_group_id,
        .stream = stream,
        .stage = stage,
        .reason = reason,
        .state = redriven < 0    ? REJECTED_ALL
                 : redriven == 0 ? REJECTED_PENDING
                                 : REJECTED_REDRIVEN,
    };
    const struct rejected_page page = {before, (size_t)limit + 1, LIST_BYTES_MAX};
    struct list *list = memory_zero(1, sizeof *list);
    *list = (struct list){request, (size_t)limit};
    rejected_list(admin->control, &filter, &page, on_list, list);
    free(stream);
    free(stage);
    free(reason);
}

/* ---- GET /admin/rejected/summary ---- */

static void on_summary(const struct rejected_kind *kinds, size_t n, const struct error *err,
                       void *arg)
{
    struct admin_request *request = arg;
    struct buffer json = {0};
    if (!kinds) {
        admin_request_fail(request, 503, "%s", err->text);
        return;
    }
    buffer_append_string(&json, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buffer_append_string(&json, i ? ",{\"stream\":" : "{\"stream\":");
        buffer_append_json(&json, bytes_of_string(kinds[i].stream));
        append_optional(&json, "stage", bytes_of_string(kinds[i].stage));
        append_optional(&json, "reason", kinds[i].reason);
        buffer_printf(&json,
                      ",\"pending\":%" PRId64 ",\"redriven\":%" PRId64 ",\"newestAt\":%" PRId64 "}",
                      kinds[i].pending, kinds[i].redriven, kinds[i].newest_ms);
    }
    buffer_append_string(&json, "]}");
    answer(request, 200, &json);
}

static void on_get_summary(struct admin_request *request, void *arg)
{
    struct admin_rejected *admin = arg;
    rejected_summary(admin->control, admin->settings->kafka_group_id, SUMMARY_LIMIT, on_summary,
                     request);
}

/* ---- POST /admin/rejected/redrive ---- */

static void on_redriven(const struct redrive_report *report, void *arg)
{
    struct admin_rejected *admin = arg;
    struct admin_request *request = admin->request;
    struct redrive_job *job = admin->job;
    struct buffer json = {0};
    redrive_report_write(report, &json);
    admin->job = NULL;
    admin->request = NULL;
    answer(request, report->ok ? 200 : 503, &json);
    redrive_job_free(job);
}

/* The rules in force, in a state of their own: examples and all, as for a reload. */
static struct rules_generation *copy_current(const struct admin_rejected *admin, struct error *err)
{
    struct rules_options options = reload_rules_options(admin->settings, NULL);
    struct rules_generation *current = rules_registry_acquire(admin->registry);
    if (!current) {
        error_set(err, "no rules are in force yet");
        return NULL;
    }
    struct rules_snapshot *snapshot = rules_snapshot_copy(current->snapshot);
    rules_registry_release(admin->registry, current);
    return rules_generation_build(snapshot, 1, &options, err);
}

static void on_post_redrive(struct admin_request *request, void *arg)
{
    struct admin_rejected *admin = arg;
    struct error err = {""};
    int64_t dry_run = 0;
    if (!flag_param(request, "dryRun", &dry_run, &err)) {
        admin_request_fail(request, 400, "%s", err.text);
        return;
    }
    if (admin->job) {
        admin_request_fail(request, 409, "A re-drive is running");
        return;
    }
    struct rules_generation *generation = copy_current(admin, &err);
    if (!generation) {
        admin_request_fail(request, 503, "%s", err.text);
        return;
    }
    char *stream = text_param(request, "stream");
    char *reason = text_param(request, "reason");
    const struct redrive_wanted wanted = {stream, reason, dry_run == 1};
    admin->request = request;
    admin->job = redrive_job_start(admin->base, admin->settings, admin->control, generation,
                                   &wanted, on_redriven, admin);
    free(stream);
    free(reason);
}

/* ---- life ---- */

struct admin_rejected *admin_rejected_register(struct admin_server *server, struct event_base *base,
                                               struct rules_registry *registry,
                                               struct control *control,
                                               const struct settings *settings)
{
    struct admin_rejected *admin = memory_zero(1, sizeof *admin);
    admin->base = base;
    admin->registry = registry;
    admin->control = control;
    admin->settings = settings;
    admin_server_on(server, "GET", "/admin/rejected", on_get_rejected, admin);
    admin_server_on(server, "GET", "/admin/rejected/summary", on_get_summary, admin);
    admin_server_on(server, "POST", "/admin/rejected/redrive", on_post_redrive, admin);
    return admin;
}

void admin_rejected_free(struct admin_rejected *admin)
{
    if (!admin)
        return;
    if (admin->job)
        log_warn("admin", "the running re-drive is broken off: what is not stored stays pending");
    redrive_job_free(admin->job);
    if (admin->request)
        admin_request_fail(admin->request, 503, "The service is stopping");
    free(admin);
}
