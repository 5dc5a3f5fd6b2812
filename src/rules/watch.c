#include "rules/watch.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/memory.h"
#include "rules/walk.h"

/* Gone for a scan or two is what a swap looks like; gone for longer is a change. */
#define GONE_SCANS 3

/* What one look at the directory gave. */
struct scan {
    bool ok; /* false: it could not be looked at, `mark` says nothing */
    uint64_t mark;
};

struct rules_watch {
    struct event *timer; /* NULL: files are not watched */
    char *dir;
    void (*on_change)(void *arg);
    void *arg;
    struct scan seen; /* as it was at creation or when on_change was called last */
    struct scan last; /* the scan before */
    int n_same;       /* scans in a row that were like the last */
};

/* The sum of the files' hashes: folders give their entries in any order. */
static bool add_file(const struct walk_file *file, void *arg, struct error *err)
{
    (void)err;
    const struct stat *stat_now = file->stat;
    int64_t facts[] = {(int64_t)stat_now->st_dev,          (int64_t)stat_now->st_ino,
                       (int64_t)stat_now->st_size,         (int64_t)stat_now->st_mtim.tv_sec,
                       (int64_t)stat_now->st_mtim.tv_nsec, (int64_t)stat_now->st_mode};
    uint64_t hash = hash_bytes(0, bytes_of_string(file->path));
    *(uint64_t *)arg += hash_bytes(hash, bytes_of((const char *)facts, sizeof facts));
    return true;
}

static struct scan scan_now(const char *dir)
{
    struct scan scan = {0};
    struct error err; /* who reads the files then meets it too, and says so */
    scan.ok = rules_walk(dir, add_file, &scan.mark, &err);
    return scan;
}

static bool is_same(struct scan a, struct scan b)
{
    return a.ok == b.ok && (!a.ok || a.mark == b.mark);
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    struct rules_watch *watch = arg;
    struct scan now = scan_now(watch->dir);
    watch->n_same = is_same(now, watch->last) ? watch->n_same + 1 : 0;
    watch->last = now;
    if (watch->n_same < (now.ok ? 1 : GONE_SCANS) || is_same(now, watch->seen))
        return;
    watch->seen = now;
    watch->on_change(watch->arg); /* may free the watch */
}

struct rules_watch *rules_watch_new(struct event_base *base, const char *dir, int interval_ms,
                                    void (*on_change)(void *arg), void *arg)
{
    struct rules_watch *watch = memory_zero(1, sizeof *watch);
    watch->dir = memory_string(dir);
    watch->on_change = on_change;
    watch->arg = arg;
    watch->seen = watch->last = scan_now(dir);
    if (interval_ms <= 0)
        return watch;
    struct timeval interval = {interval_ms / 1000, interval_ms % 1000 * 1000};
    watch->timer = event_new(base, -1, EV_PERSIST, on_timer, watch);
    if (!watch->timer || event_add(watch->timer, &interval) != 0)
        die("no timer for the watch over %s", dir);
    return watch;
}

void rules_watch_free(struct rules_watch *watch)
{
    if (!watch)
        return;
    if (watch->timer)
        event_free(watch->timer);
    free(watch->dir);
    free(watch);
}
