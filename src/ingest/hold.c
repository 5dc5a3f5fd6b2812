#include "ingest/hold.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"

#define RETRY_MS     30000
#define RETRY_ONE_MS 2000 /* when there was no other row to compare with: one may have come */

static struct hold *find(const struct holds *holds, const char *topic)
{
    for (size_t i = 0; i < holds->count; i++)
        if (strcmp(holds->items[i].topic, topic) == 0)
            return &holds->items[i];
    return NULL;
}

static struct hold *add(struct holds *holds, const struct refused_table *refused)
{
    holds->items = memory_resize(holds->items, (holds->count + 1) * sizeof(*holds->items));
    struct hold *hold = &holds->items[holds->count++];
    *hold = (struct hold){.topic = memory_string(refused->topic),
                          .stream = memory_string(refused->stream)};
    return hold;
}

void holds_add(struct holds *holds, const struct refused_table *refused, struct counts *counts,
               int64_t now_ms)
{
    struct hold *hold = find(holds, refused->topic);
    if (!hold)
        hold = add(holds, refused);
    free(hold->why);
    hold->why =
        memory_printf("topic %s is paused: table %s refuses %s (%s): %s", refused->topic,
                      refused->table, refused->certain ? "every row" : "the only row there is",
                      refused->sqlstate, refused->reason);
    hold->trying = false;
    hold->retry_at_ms = now_ms + (refused->certain ? RETRY_MS : RETRY_ONE_MS);
    counts_paused(counts, hold->stream, true);
    log_error(hold->stream,
              "%s; nothing is lost, it is tried again in %lld s and after each reload", hold->why,
              (long long)(hold->retry_at_ms - now_ms) / 1000);
}

const char *holds_take_due(struct holds *holds, int64_t now_ms, bool all)
{
    for (size_t i = 0; i < holds->count; i++) {
        struct hold *hold = &holds->items[i];
        if (!hold->trying && (all || now_ms >= hold->retry_at_ms)) {
            hold->trying = true;
            return hold->topic;
        }
    }
    return NULL;
}

static void forget(struct hold *hold, struct counts *counts)
{
    counts_paused(counts, hold->stream, false);
    free(hold->topic);
    free(hold->stream);
    free(hold->why);
}

void holds_passed(struct holds *holds, const char *topic, struct counts *counts)
{
    struct hold *hold = find(holds, topic);
    if (!hold || !hold->trying)
        return;
    log_info(hold->stream, "topic %s goes on", topic);
    forget(hold, counts);
    *hold = holds->items[--holds->count];
}

void holds_clear(struct holds *holds, struct counts *counts)
{
    for (size_t i = 0; i < holds->count; i++)
        forget(&holds->items[i], counts);
    free(holds->items);
    *holds = (struct holds){0};
}

void holds_describe(const struct holds *holds, struct buffer *out)
{
    for (size_t i = 0; i < holds->count; i++)
        buffer_printf(out, "%s\n", holds->items[i].why);
}
