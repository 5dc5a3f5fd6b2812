/* Fills the ledger from the rows that are there. Blocking, on a connection of its own: for the
 * command, never in the service. */
#ifndef STORE_REBUILD_H
#define STORE_REBUILD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "model/table.h"

struct rebuilt_day {
    const char *table;
    const char *day; /* "2024-01-01" */
    long n_series;
};

/* A tracked table, one partition or chunk and one day at a time, each in a transaction of its own,
 * newest first; ingest may run meanwhile, and it may be repeated. `on_day` is called after each. */
bool rebuild_table(const char *conninfo, const struct table_def *table,
                   void (*on_day)(const struct rebuilt_day *day, void *arg), void *arg,
                   struct error *err) __attribute__((warn_unused_result));

#endif
