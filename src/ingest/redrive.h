/* Runs rejected messages through the rules again; what now passes is stored and marked, what is
 * still refused keeps today's reason.
 *
 *   READING ─▶ MAPPING ─▶ WRITING ─▶ READING ...  ─▶ ENDED
 *                          │    ▲
 *                          ▼    │ PostgreSQL is to be asked again later
 *                         WAITING
 * Pages of pending messages are read without a lock; the transaction that stores them settles them
 * first (redrive_settle), and does nothing when another re-drive was there before.
 *
 * Nobody knows any more which of these messages came before what the tables hold. So only a greater
 * number replaces a row, and a row without a number only fills a missing one (UPSERT_LATE). Newest
 * pages go first, for then of several unnumbered messages the newest does the filling, as it would
 * have won had they not been refused. */
#ifndef INGEST_REDRIVE_H
#define INGEST_REDRIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "config/settings.h"
#include "rules/generation.h"
#include "store/control.h"
#include "store/schema.h"

#define REDRIVE_REASONS_MAX 10

struct event_base;
struct redrive;

struct redrive_options {
    struct event_base *base;
    const struct settings *settings;
    struct control *control; /* pages are read through it; rows have a connection of their own */
    struct rules_generation *rules; /* for this re-drive alone, of one slot */
    struct schema *schema;          /* that the rules' tables fit; held */
    const char *stream;             /* NULL: all */
    const char *reason;             /* what the reasons begin with; NULL: all */
    bool dry_run;                   /* everything is tried, PostgreSQL included, and rolled back */
};

struct redrive_report {
    bool ok; /* went to the end; else `err` says what stopped it */
    struct error err;
    bool dry_run;
    int64_t seen; /* the sum of the three below */
    int64_t stored;
    int64_t skipped;
    int64_t refused;
    const char *reasons[REDRIVE_REASONS_MAX]; /* the first that were met, each once */
    size_t n_reasons;
};

/* `done` is called once, from the loop of `base`; the report is borrowed until it returns, and
 * redrive_free may be called from it. `settings`, `control` and `rules` must live until
 * redrive_free. */
struct redrive *redrive_start(const struct redrive_options *options,
                              void (*done)(const struct redrive_report *report, void *arg),
                              void *arg);
/* When it is done, or after its control was freed. NULL is accepted. */
void redrive_free(struct redrive *redrive);

#endif
