/* Host names to addresses without blocking: getaddrinfo in a thread of its own, the answer on the
 * event loop. */
#ifndef STORE_RESOLVE_H
#define STORE_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct event_base;
struct resolve; /* one question under way */

struct resolved_host {
    char **addresses; /* numeric, in getaddrinfo's order; none when it failed or was not a name */
    size_t n_addresses;
    struct error err; /* why there are none */
};

/* `hosts` is borrowed until it returns; a NULL entry is skipped. `done` is called once, from the
 * loop of `base`, with answers in the order of the questions that are borrowed until it returns.
 * Never NULL. */
struct resolve *resolve_start(struct event_base *base, const char *const *hosts, size_t n_hosts,
                              void (*done)(const struct resolved_host *hosts, size_t n_hosts,
                                           void *arg),
                              void *arg);
/* Nobody waits any more. Not from inside or after `done`. NULL is accepted. */
void resolve_cancel(struct resolve *resolve);

#endif
