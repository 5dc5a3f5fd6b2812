/* Requests whose rule wants to be asked again in a moment. While they wait they hold neither a
 * connection to PostgreSQL nor a place among those in flight, so they are in nobody's way; how many
 * of them there may be is bounded for itself. Belongs to the thread of its event_base. */
#ifndef HTTP_WAITING_H
#define HTTP_WAITING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "metrics/metrics.h"

struct event;
struct event_base;
struct waiter;

#define WAITING_MAX_MS 5000 /* of one request, altogether */

struct waiting_room {
    struct event_base *base;
    atomic_int *n_waiting; /* of all rooms that share it */
    int max_waiting;
    struct gauge *gauge;
    bool is_closed;
    struct waiter *first;
};

/* One request. Zero-initialised but for room, on_time and arg. */
struct waiter {
    struct waiting_room *room;
    /* The time is up; final: it must not wait any more. */
    void (*on_time)(int waited_ms, bool is_final, void *arg);
    void *arg;
    int64_t since_ms; /* monotonic; when it first waited, 0: not yet */
    struct event *timer;
    struct waiter **link, *next; /* in the room while it waits; link NULL: it does not */
};

/* False: there is no place, or no time left: on_time will not be called. */
bool waiter_wait(struct waiter *waiter, int ms) __attribute__((warn_unused_result));
/* Since it first waited. */
int waiter_waited_ms(const struct waiter *waiter);
/* on_time will not be called any more. */
void waiter_release(struct waiter *waiter);

/* Everybody's time is up, and nobody may wait any more. */
void waiting_room_close(struct waiting_room *room);

#endif
