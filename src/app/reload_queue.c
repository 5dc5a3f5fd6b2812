#include "app/reload_queue.h"

#include <stdlib.h>
#include <utlist.h>

#include "base/memory.h"

/* Whether it is about the files on disk. */
static bool is_of_files(const struct reload_order *order)
{
    return order->cause != RELOAD_ROLLBACK && order->cause != RELOAD_TABLES;
}

void reload_queue_add(struct reload_order **queue, const struct reload_order *order)
{
    struct reload_order *last = *queue;
    while (last && last->next)
        last = last->next;
    if (last && is_of_files(last) && is_of_files(order)) {
        last->cause = order->cause;
        last->force = last->force || order->force;
        waiters_join(&last->waiters, order->waiters);
        return;
    }
    struct reload_order *added = memory_zero(1, sizeof *added);
    *added = *order;
    added->next = NULL;
    LL_APPEND(*queue, added);
}

bool reload_queue_take(struct reload_order **queue, struct reload_order *first)
{
    struct reload_order *taken = *queue;
    if (!taken)
        return false;
    LL_DELETE(*queue, taken);
    *first = *taken;
    first->next = NULL;
    free(taken);
    return true;
}

void reload_queue_free(struct reload_order **queue)
{
    struct reload_order order;
    while (reload_queue_take(queue, &order))
        waiters_free(order.waiters);
}
