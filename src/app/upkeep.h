/* Every now and then: the ledger's floor follows what retention has deleted. In the main thread. */
#ifndef APP_UPKEEP_H
#define APP_UPKEEP_H

#include <stdbool.h>

#include "config/settings.h"
#include "metrics/metrics.h"
#include "model/table.h"
#include "rules/generation.h"
#include "store/control.h"

struct event_base;
struct upkeep;

/* Runs as long as it lives. Everything must outlive it but the control, which goes first. */
struct upkeep *upkeep_start(struct event_base *base, const struct settings *settings,
                            struct metrics *metrics, struct rules_registry *registry,
                            struct control *control);
void upkeep_free(struct upkeep *upkeep);

/* A row of this table expires with its time: it is tracked, and the key has the time in it. */
bool upkeep_has_floor(const struct table_def *table);

#endif
