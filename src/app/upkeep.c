#include "app/upkeep.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "store/floor.h"

#define LOG_INTERVAL_MS 600000

struct upkeep {
    struct rules_registry *registry;
    struct control *control;
    struct event *timer;
    struct counter *expired;
    size_t n_running; /* tables that are being looked at */
    struct log_limit limit;
};

bool upkeep_has_floor(const struct table_def *table)
{
    for (size_t i = 0; table->track.by && i < table->n_key; i++)
        if (table->key[i] == table->track.time)
            return true;
    return false;
}

static void on_moved(int64_t n_expired, const struct error *err, void *arg)
{
    struct upkeep *upkeep = arg;
    uint64_t held_back;
    upkeep->n_running--;
    if (err && log_limit_pass(&upkeep->limit, LOG_INTERVAL_MS, &held_back))
        log_warn("app", "the ledger's floor is not moved: %s; it is tried again", err->text);
    if (n_expired > 0) {
        counter_add(upkeep->expired, (uint64_t)n_expired);
        log_info("app", "%" PRId64 " ranges of the ledger have expired", n_expired);
    }
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    struct upkeep *upkeep = arg;
    if (upkeep->n_running > 0)
        return;
    struct rules_generation *generation = rules_registry_acquire(upkeep->registry);
    if (!generation)
        return;
    const struct rules_def *def = rules_generation_def(generation);
    for (size_t s = 0; s < def->n_streams; s++)
        for (size_t t = 0; t < def->streams[s].n_tables; t++)
            if (upkeep_has_floor(&def->streams[s].tables[t])) {
                upkeep->n_running++;
                floor_move(upkeep->control, &def->streams[s].tables[t], on_moved, upkeep);
            }
    rules_registry_release(upkeep->registry, generation);
}

struct upkeep *upkeep_start(struct event_base *base, const struct settings *settings,
                            struct metrics *metrics, struct rules_registry *registry,
                            struct control *control)
{
    const struct timeval interval = {settings->ledger_floor_ms / 1000,
                                     settings->ledger_floor_ms % 1000 * 1000};
    struct upkeep *upkeep = memory_zero(1, sizeof *upkeep);
    upkeep->registry = registry;
    upkeep->control = control;
    upkeep->expired = metrics_counter(metrics, "core_service_ledger_expired_ranges_total",
                                      "Ranges of the ledger whose rows were deleted.", NULL, 0);
    upkeep->timer = event_new(base, -1, EV_PERSIST, on_timer, upkeep);
    event_add(upkeep->timer, &interval);
    return upkeep;
}

void upkeep_free(struct upkeep *upkeep)
{
    if (!upkeep)
        return;
    event_free(upkeep->timer);
    free(upkeep);
}
