#include "app/rules_status.h"

#include <stdio.h>

#include "base/clock.h"

/* Any thread. */
static void on_collect(void *arg)
{
    struct rules_status *status = arg;
    double ended_at_s = gauge_get(status->last_reload);
    if (ended_at_s > 0)
        gauge_set(status->age, (double)clock_realtime_ms() / 1000.0 - ended_at_s);
}

void rules_status_init(struct rules_status *status, struct metrics *metrics)
{
    *status = (struct rules_status){.metrics = metrics};
    pthread_mutex_init(&status->lock, NULL);
    status->generation =
        metrics_gauge(metrics, "core_service_rules_generation",
                      "Number of the current generation of rules, 0 before the first", NULL, 0);
    status->last_reload =
        metrics_gauge(metrics, "core_service_rules_last_reload_timestamp_seconds",
                      "When the last reload ended, whatever its outcome", NULL, 0);
    status->age = metrics_gauge(metrics, "core_service_rules_seconds_since_last_reload",
                                "Seconds since the last reload ended", NULL, 0);
    gauge_hide(status->age);
    metrics_on_collect(metrics, on_collect, status);
    status->degraded =
        metrics_gauge(metrics, "core_service_rules_degraded",
                      "1 while the last reload has failed and an earlier generation runs", NULL, 0);
}

void rules_status_destroy(struct rules_status *status)
{
    pthread_mutex_destroy(&status->lock);
}

void rules_status_fail(struct rules_status *status, const char *cause, const char *hash,
                       const struct error *err)
{
    status->has_failure = true;
    status->failure = *err;
    status->failure_cause = cause;
    status->failure_at_ms = clock_realtime_ms();
    snprintf(status->failure_hash, sizeof status->failure_hash, "%s", hash);
}

void rules_status_count(struct rules_status *status, const char *outcome)
{
    struct label label = {"outcome", outcome};
    counter_add(metrics_counter(status->metrics, "core_service_rules_reloads_total",
                                "Reloads of the rules by outcome", &label, 1),
                1);
    gauge_set(status->last_reload, (double)clock_realtime_ms() / 1000.0);
}

void rules_status_refresh(struct rules_status *status, const struct rules_generation *current,
                          bool has_schema)
{
    struct error trouble = {""};
    if (!current)
        error_set(&trouble, "rules: no generation yet: %s",
                  status->has_failure ? status->failure.text : "starting");
    else if (!has_schema)
        error_set(&trouble, "rules: not checked yet, the database was never reached");
    else if (status->has_failure)
        error_set(&trouble, "rules: degraded, generation %llu goes on: %s",
                  (unsigned long long)current->number, status->failure.text);
    pthread_mutex_lock(&status->lock);
    status->ready = current && has_schema;
    status->trouble = trouble;
    pthread_mutex_unlock(&status->lock);
    gauge_set(status->degraded, status->has_failure ? 1 : 0);
    gauge_set(status->generation, current ? (double)current->number : 0);
}

bool rules_status_is_ready(struct rules_status *status, struct buffer *reasons)
{
    pthread_mutex_lock(&status->lock);
    bool ready = status->ready;
    struct error trouble = status->trouble;
    pthread_mutex_unlock(&status->lock);
    if (trouble.text[0])
        buffer_printf(reasons, "%s\n", trouble.text);
    return ready;
}

static void append_member(struct buffer *json, const char *name, const char *text)
{
    buffer_printf(json, "\"%s\":", name);
    buffer_append_json(json, bytes_of_string(text));
}

static void append_stream(const struct stream_def *stream, bool live, struct buffer *json)
{
    buffer_append_string(json, "{");
    append_member(json, "name", stream->name);
    buffer_append_string(json, ",");
    append_member(json, "topic", stream->topic);
    buffer_append_string(json, ",");
    append_member(json, "file", stream->file);
    buffer_printf(json, ",\"live\":%s}", live ? "true" : "false");
}

static void append_endpoint(const struct endpoint_def *endpoint, struct buffer *json)
{
    buffer_append_string(json, "{");
    append_member(json, "method", endpoint->method);
    buffer_append_string(json, ",");
    append_member(json, "path", endpoint->paths[0]);
    buffer_append_string(json, ",");
    append_member(json, "file", endpoint->file);
    buffer_append_string(json, "}");
}

void rules_status_describe_generation(const struct rules_generation *generation,
                                      struct buffer *json)
{
    const struct rules_snapshot *snapshot = generation->snapshot;
    const struct rules_def *def = rules_generation_def(generation);

    buffer_append_string(json, "\"files\":[");
    for (size_t i = 0; i < snapshot->n_files; i++) {
        buffer_append_string(json, i ? "," : "");
        buffer_append_json(json, bytes_of_string(snapshot->files[i].path));
    }
    buffer_append_string(json, "],\"streams\":[");
    for (size_t i = 0; i < def->n_streams; i++) {
        buffer_append_string(json, i ? "," : "");
        append_stream(&def->streams[i], !generation->resting[i], json);
    }
    buffer_append_string(json, "],\"endpoints\":[");
    for (size_t i = 0; i < def->n_endpoints; i++) {
        buffer_append_string(json, i ? "," : "");
        append_endpoint(&def->endpoints[i], json);
    }
    buffer_append_string(json, "]");
}

void rules_status_describe_failure(const struct rules_status *status, struct buffer *json)
{
    if (!status->has_failure) {
        buffer_append_string(json, "null");
        return;
    }
    buffer_append_string(json, "{");
    append_member(json, "error", status->failure.text);
    buffer_printf(json, ",\"hash\":\"%s\",\"cause\":\"%s\",\"at\":%lld}", status->failure_hash,
                  status->failure_cause, (long long)status->failure_at_ms);
}
