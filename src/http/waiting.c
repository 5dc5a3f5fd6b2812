#include "http/waiting.h"

#include <event2/event.h>
#include <limits.h>

#include "base/clock.h"
#include "base/memory.h"

static void leave(struct waiter *waiter)
{
    struct waiting_room *room = waiter->room;
    if (!waiter->link)
        return;
    *waiter->link = waiter->next;
    if (waiter->next)
        waiter->next->link = waiter->link;
    waiter->link = NULL;
    atomic_fetch_sub(room->n_waiting, 1);
    gauge_add(room->gauge, -1);
}

/* False: the room is full. */
static bool enter(struct waiter *waiter)
{
    struct waiting_room *room = waiter->room;
    if (atomic_fetch_add(room->n_waiting, 1) >= room->max_waiting) {
        atomic_fetch_sub(room->n_waiting, 1);
        return false;
    }
    gauge_add(room->gauge, 1);
    waiter->next = room->first;
    waiter->link = &room->first;
    if (waiter->next)
        waiter->next->link = &waiter->next;
    room->first = waiter;
    return true;
}

static void end_wait(struct waiter *waiter, bool is_final)
{
    leave(waiter);
    event_del(waiter->timer);
    int waited_ms = waiter_waited_ms(waiter);
    waiter->on_time(waited_ms, is_final || waited_ms >= WAITING_MAX_MS, waiter->arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    end_wait(arg, false);
}

bool waiter_wait(struct waiter *waiter, int ms)
{
    if (waiter->since_ms == 0)
        waiter->since_ms = clock_monotonic_ms();
    int left_ms = WAITING_MAX_MS - waiter_waited_ms(waiter);
    if (waiter->room->is_closed || left_ms <= 0 || !enter(waiter))
        return false;
    if (!waiter->timer)
        waiter->timer = evtimer_new(waiter->room->base, on_timer, waiter);
    if (ms > left_ms)
        ms = left_ms;
    const struct timeval after = {ms / 1000, ms % 1000 * 1000};
    if (!waiter->timer || evtimer_add(waiter->timer, &after) < 0)
        die("no timer for a request that waits");
    return true;
}

int waiter_waited_ms(const struct waiter *waiter)
{
    int64_t waited_ms = waiter->since_ms ? clock_monotonic_ms() - waiter->since_ms : 0;
    return waited_ms > INT_MAX ? INT_MAX : (int)waited_ms;
}

void waiter_release(struct waiter *waiter)
{
    leave(waiter);
    if (waiter->timer)
        event_free(waiter->timer);
    waiter->timer = NULL;
}

void waiting_room_close(struct waiting_room *room)
{
    room->is_closed = true;
    while (room->first)
        end_wait(room->first, true);
}
