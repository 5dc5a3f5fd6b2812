/* core-service redrive: runs rejected messages through the rules on disk. */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "app/commands.h"
#include "app/redrive_job.h"

struct outcome {
    struct event_base *base;
    int code;
};

static void on_done(const struct redrive_report *report, void *arg)
{
    struct outcome *outcome = arg;
    struct buffer json = {0};
    redrive_report_write(report, &json);
    printf("%s\n", json.data);
    buffer_free(&json);
    outcome->code = report->ok ? EXIT_OK : command_fail(EXIT_FAILED, &report->err);
    event_base_loopbreak(outcome->base);
}

static int run(const struct settings *settings, const struct redrive_wanted *wanted,
               struct rules_generation *generation)
{
    struct outcome outcome = {.base = event_base_new(), .code = EXIT_FAILED};
    char *database = settings_database(settings);
    struct control *control = control_new(outcome.base, database, settings->db_connect_timeout_ms);
    struct redrive_job *job =
        redrive_job_start(outcome.base, settings, control, generation, wanted, on_done, &outcome);
    event_base_dispatch(outcome.base);
    control_free(control);
    redrive_job_free(job);
    free(database);
    event_base_free(outcome.base);
    return outcome.code;
}

/* --stream S, --reason R, --dry-run, in any order. */
static bool take_arguments(int argc, char **argv, struct redrive_wanted *wanted, struct error *err)
{
    for (int i = 0; i < argc; i++) {
        bool has_value = i + 1 < argc;
        if (strcmp(argv[i], "--dry-run") == 0)
            wanted->dry_run = true;
        else if (strcmp(argv[i], "--stream") == 0 && has_value)
            wanted->stream = argv[++i];
        else if (strcmp(argv[i], "--reason") == 0 && has_value)
            wanted->reason = argv[++i];
        else
            return error_set(err,
                             "core-service redrive: expected [--stream S] [--reason R] "
                             "[--dry-run], got '%s'",
                             argv[i]);
    }
    return true;
}

int command_redrive(const struct settings *settings, int argc, char **argv)
{
    struct redrive_wanted wanted = {0};
    struct error err = {""};
    if (!take_arguments(argc, argv, &wanted, &err))
        return command_fail(EXIT_OPERATOR, &err);
    struct rules_generation *generation = command_load(settings, &err);
    if (!generation)
        return command_fail(EXIT_FAILED, &err);
    return run(settings, &wanted, generation);
}
