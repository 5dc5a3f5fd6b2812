/* A libpq connection string, taken apart so that names can be resolved before libpq sees it. */
#ifndef STORE_CONNINFO_H
#define STORE_CONNINFO_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "store/resolve.h"

struct conninfo;

/* Parses a URI or key=value text; what it does not say of hosts comes from libpq's own defaults
 * (PGHOST, ...). A host that stands only in a service file is not seen here: libpq resolves it
 * itself, which blocks. NULL with `err`. */
struct conninfo *conninfo_parse(const char *text, struct error *err)
    __attribute__((warn_unused_result));
void conninfo_free(struct conninfo *info);

/* The hosts in their order, NULL for those that need no look-up (sockets, addresses). *n counts
 * all. */
const char *const *conninfo_names(const struct conninfo *info, size_t *n);
bool conninfo_needs_lookup(const struct conninfo *info);

/* Keywords and values for PQconnectStartParams, NULL-terminated. Every address of every host
 * becomes an entry of host, hostaddr and port, beginning with entry `first` (modulo their number),
 * so that repeated attempts do not always wait for the same dead one. `answers` has conninfo_names'
 * order; NULL when there was nothing to look up. False with `err` when no entry is left. */
struct connect_params {
    const char **keywords;
    const char **values;
    char *hosts;
    char *addresses;
    char *ports;
};
bool conninfo_build(const struct conninfo *info, const struct resolved_host *answers, size_t first,
                    const char *application_name, struct connect_params *params, struct error *err)
    __attribute__((warn_unused_result));
void connect_params_free(struct connect_params *params);

#endif
