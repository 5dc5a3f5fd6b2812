/* One re-drive from its rules to its report: reads the schema, holds the rules against it, runs the
 * messages. Belongs to the thread of its event_base. */
#ifndef APP_REDRIVE_JOB_H
#define APP_REDRIVE_JOB_H

#include "base/buffer.h"
#include "config/settings.h"
#include "ingest/redrive.h"
#include "rules/generation.h"
#include "store/control.h"

struct redrive_job;

struct redrive_wanted {
    const char *stream; /* NULL: all */
    const char *reason; /* what the reasons begin with; NULL: all */
    bool dry_run;
};

/* Takes `generation` over, which is not published and serves this job alone; copies `wanted`.
 * `done` is called once; the report is borrowed until it returns, and redrive_job_free may be
 * called from it. */
struct redrive_job *redrive_job_start(struct event_base *base, const struct settings *settings,
                                      struct control *control, struct rules_generation *generation,
                                      const struct redrive_wanted *wanted,
                                      void (*done)(const struct redrive_report *report, void *arg),
                                      void *arg);
/* When it is done, or after its control was freed. NULL is accepted. */
void redrive_job_free(struct redrive_job *job);

/* {"seen":3,"stored":1,"skipped":0,"refused":2}, for a dry run also "dryRun":true and
 * "reasons":["..."], when it was stopped also "error":"...". */
void redrive_report_write(const struct redrive_report *report, struct buffer *json);

#endif
