#include "http/farewell.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

#define FAREWELL_MS    1000
#define FAREWELL_BYTES (8 * 1024 * 1024)
#define FAREWELL_MAX   64

struct leaver {
    LIST_ENTRY(leaver) entry;
    struct farewell *farewell;
    struct event *event;
    evutil_socket_t fd;
    size_t bytes_left;
    int64_t deadline_ms; /* monotonic */
};

struct farewell {
    struct event_base *base;
    LIST_HEAD(, leaver) all;
    size_t n_all;
};

struct farewell *farewell_new(struct event_base *base)
{
    struct farewell *farewell = memory_zero(1, sizeof *farewell);
    farewell->base = base;
    LIST_INIT(&farewell->all);
    return farewell;
}

static void leaver_free(struct leaver *leaver)
{
    LIST_REMOVE(leaver, entry);
    leaver->farewell->n_all--;
    event_free(leaver->event);
    close(leaver->fd);
    free(leaver);
}

void farewell_free(struct farewell *farewell)
{
    if (!farewell)
        return;
    struct leaver *leaver;
    while ((leaver = LIST_FIRST(&farewell->all)))
        leaver_free(leaver);
    free(farewell);
}

bool farewell_is_empty(const struct farewell *farewell)
{
    return farewell->n_all == 0;
}

/* Reads away what is there. False: the other side has ended, or has had its time. */
static bool discard(struct leaver *leaver)
{
    char away[16 * 1024];
    for (;;) {
        ssize_t n = recv(leaver->fd, away, sizeof away, MSG_DONTWAIT);
        if (n < 0)
            return (errno == EAGAIN || errno == EINTR) &&
                   clock_monotonic_ms() < leaver->deadline_ms;
        if (n == 0 || (size_t)n >= leaver->bytes_left)
            return false;
        leaver->bytes_left -= (size_t)n;
    }
}

static void wait_for_more(struct leaver *leaver)
{
    int64_t left_ms = leaver->deadline_ms - clock_monotonic_ms();
    if (left_ms < 1)
        left_ms = 1;
    event_add(leaver->event, &(struct timeval){left_ms / 1000, left_ms % 1000 * 1000});
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct leaver *leaver = arg;
    if ((what & EV_READ) && discard(leaver))
        wait_for_more(leaver);
    else
        leaver_free(leaver);
}

void farewell_add(struct farewell *farewell, evutil_socket_t fd)
{
    shutdown(fd, SHUT_WR);
    if (farewell->n_all >= FAREWELL_MAX) {
        close(fd);
        return;
    }
    struct leaver *leaver = memory_zero(1, sizeof *leaver);
    leaver->farewell = farewell;
    leaver->fd = fd;
    leaver->bytes_left = FAREWELL_BYTES;
    leaver->deadline_ms = clock_monotonic_ms() + FAREWELL_MS;
    leaver->event = event_new(farewell->base, fd, EV_READ, on_readable, leaver);
    if (!leaver->event)
        die("no event for a connection");
    LIST_INSERT_HEAD(&farewell->all, leaver, entry);
    farewell->n_all++;
    wait_for_more(leaver);
}
