#include "app/history.h"

#include <string.h>

static void remove_at(struct history *history, size_t index)
{
    history->n--;
    memmove(&history->snapshots[index], &history->snapshots[index + 1],
            (history->n - index) * sizeof history->snapshots[0]);
}

static bool find(const struct history *history, const char *hash, size_t *index)
{
    for (*index = 0; *index < history->n; (*index)++)
        if (strcmp(history->snapshots[*index]->hash, hash) == 0)
            return true;
    return false;
}

bool history_has(const struct history *history, const char *hash)
{
    size_t index;
    return find(history, hash, &index);
}

void history_forget(struct history *history, const char *hash)
{
    size_t index;
    if (!find(history, hash, &index))
        return;
    rules_snapshot_free(history->snapshots[index]);
    remove_at(history, index);
}

void history_push(struct history *history, struct rules_snapshot *snapshot)
{
    history_forget(history, snapshot->hash);
    if (history->n == HISTORY_MAX)
        rules_snapshot_free(history->snapshots[--history->n]);
    memmove(&history->snapshots[1], &history->snapshots[0],
            history->n * sizeof history->snapshots[0]);
    history->snapshots[0] = snapshot;
    history->n++;
}

void history_append(struct history *history, struct rules_snapshot *snapshot)
{
    size_t index;
    if (history->n == HISTORY_MAX || find(history, snapshot->hash, &index))
        rules_snapshot_free(snapshot);
    else
        history->snapshots[history->n++] = snapshot;
}

const struct rules_snapshot *history_newest(const struct history *history)
{
    return history->n ? history->snapshots[0] : NULL;
}

struct rules_snapshot *history_pop(struct history *history)
{
    if (history->n == 0)
        return NULL;
    struct rules_snapshot *newest = history->snapshots[0];
    remove_at(history, 0);
    return newest;
}

void history_clear(struct history *history)
{
    while (history->n > 0)
        rules_snapshot_free(history->snapshots[--history->n]);
}
