/* Notices that the files of a rules directory have changed, by a scan (path, inode, size, mtime,
 * permissions, through links): editors' rename-save, a directory swapped by symlink, new and
 * deleted files and network file systems are all ordinary to it. Main thread. */
#ifndef RULES_WATCH_H
#define RULES_WATCH_H

struct event_base;
struct rules_watch;

/* `on_change` is called once for a change, when two scans in a row after it were equal; it may free
 * the watch. The state at creation counts as seen: make the watch before the rules are read. A
 * directory that cannot be looked at (missing for a moment) is no change, unless that lasts. With
 * `interval_ms` 0 nothing is watched. */
struct rules_watch *rules_watch_new(struct event_base *base, const char *dir, int interval_ms,
                                    void (*on_change)(void *arg), void *arg);
/* NULL is accepted. */
void rules_watch_free(struct rules_watch *watch);

#endif
