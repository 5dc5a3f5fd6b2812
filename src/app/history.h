/* Earlier generations as snapshots, newest first: what a rollback and a start with broken files can
 * reach. Main thread. */
#ifndef APP_HISTORY_H
#define APP_HISTORY_H

#include <stdbool.h>
#include <stddef.h>

#include "rules/snapshot.h"

#define HISTORY_MAX 10

struct history {
    struct rules_snapshot *snapshots[HISTORY_MAX];
    size_t n;
};

/* Takes the snapshot over as the newest; the oldest is freed when there is no room. One with the
 * same files that is already there moves up. */
void history_push(struct history *history, struct rules_snapshot *snapshot);
/* Takes the snapshot over as the oldest, or frees it when there is no room or the same files are
 * there. */
void history_append(struct history *history, struct rules_snapshot *snapshot);
/* The newest, or NULL; stays in the history. */
const struct rules_snapshot *history_newest(const struct history *history);
/* The newest, removed, now the caller's; NULL when there is none. */
struct rules_snapshot *history_pop(struct history *history);
bool history_has(const struct history *history, const char *hash);
/* Drops the one with this hash, if it is there. */
void history_forget(struct history *history, const char *hash);
void history_clear(struct history *history);

#endif
