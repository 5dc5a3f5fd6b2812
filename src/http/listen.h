#ifndef HTTP_LISTEN_H
#define HTTP_LISTEN_H

#include "base/error.h"

/* A listening, non-blocking socket on the first address of `host` that can be bound, never shared
 * with another process: a taken port is an error. -1 with `err`. *bound gets the port, which
 * differs for port 0. Resolves names: at start only. */
int listen_on(const char *host, int port, int *bound, struct error *err)
    __attribute__((warn_unused_result));

#endif
