#include "app/redrive_job.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>

#include "app/fit.h"
#include "base/memory.h"

struct redrive_job {
    struct event_base *base;
    const struct settings *settings;
    struct control *control;
    struct rules_generation *generation;
    char *stream;
    char *reason;
    bool dry_run;
    void (*done)(const struct redrive_report *report, void *arg);
    void *arg;
    struct redrive *redrive;
    struct event *later; /* tells of a failure from the loop: control's callbacks may not free */
    struct redrive_report failure;
};

static void on_later(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    struct redrive_job *job = arg;
    job->done(&job->failure, job->arg);
}

static void fail(struct redrive_job *job, const struct error *err)
{
    job->failure.err = *err;
    job->failure.dry_run = job->dry_run;
    event_active(job->later, EV_TIMEOUT, 0);
}

static void on_schema(struct schema *schema, const struct error *trouble, void *arg)
{
    struct redrive_job *job = arg;
    struct error err = {""};
    if (!schema) {
        fail(job, trouble);
        return;
    }
    if (!fit_check_streams(schema, rules_generation_def(job->generation), &err)) {
        schema_release(schema);
        fail(job, &err);
        return;
    }
    fit_mark_resting(job->generation, schema);
    const struct redrive_options options = {
        .base = job->base,
        .settings = job->settings,
        .control = job->control,
        .rules = job->generation,
        .schema = schema,
        .stream = job->stream,
        .reason = job->reason,
        .dry_run = job->dry_run,
    };
    job->redrive = redrive_start(&options, job->done, job->arg);
    schema_release(schema);
}

static char *copy(const char *text)
{
    return text ? memory_string(text) : NULL;
}

struct redrive_job *redrive_job_start(struct event_base *base, const struct settings *settings,
                                      struct control *control, struct rules_generation *generation,
                                      const struct redrive_wanted *wanted,
                                      void (*done)(const struct redrive_report *report, void *arg),
                                      void *arg)
{
    struct redrive_job *job = memory_zero(1, sizeof *job);
    job->base = base;
    job->settings = settings;
    job->control = control;
    job->generation = generation;
    job->stream = copy(wanted->stream);
    job->reason = copy(wanted->reason);
    job->dry_run = wanted->dry_run;
    job->done = done;
    job->arg = arg;
    job->later = evtimer_new(base, on_later, job);

    fit_load_schema(control, rules_generation_def(generation), NULL, false, on_schema, job);
    return job;
}

void redrive_job_free(struct redrive_job *job)
{
    if (!job)
        return;
    redrive_free(job->redrive);
    event_free(job->later);
    rules_generation_free(job->generation);
    free(job->stream);
    free(job->reason);
    free(job);
}

void redrive_report_write(const struct redrive_report *report, struct buffer *json)
{
    buffer_printf(json,
                  "{\"seen\":%" PRId64 ",\"stored\":%" PRId64 ",\"skipped\":%" PRId64
                  ",\"refused\":%" PRId64,
                  report->seen, report->stored, report->skipped, report->refused);
    if (report->dry_run) {
        buffer_append_string(json, ",\"dryRun\":true,\"reasons\":[");
        for (size_t i = 0; i < report->n_reasons; i++) {
            buffer_append_string(json, i ? "," : "");
            buffer_append_json(json, bytes_of_string(report->reasons[i]));
        }
        buffer_append_string(json, "]");
    }
    if (!report->ok) {
        buffer_append_string(json, ",\"error\":");
        buffer_append_json(json, bytes_of_string(report->err.text));
    }
    buffer_append_string(json, "}");
}
