/* Which target answers a path: patterns of literal segments and :parameters, a method each. Where
 * several patterns fit, a literal goes before a parameter. Filled once, then only read. */
#ifndef HTTP_ROUTE_H
#define HTTP_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "base/error.h"
#include "rules/definition.h"

#define ROUTE_SEGMENTS_MAX ENDPOINT_PARTS_MAX /* of a pattern; a longer path fits none */

struct route_table;

struct route {
    const char *method;
    const char *pattern;
    size_t n_segments;
    struct bytes segments[ROUTE_SEGMENTS_MAX]; /* point into the pattern; ":name" is a parameter */
    void *target;
};

struct route_table *route_table_new(void);
void route_table_free(struct route_table *table); /* NULL is accepted */

/* Texts are borrowed for the life of the table. False with `err`: `pattern` does not begin with
 * '/', has more than ROUTE_SEGMENTS_MAX segments or names a parameter twice. */
bool route_table_add(struct route_table *table, const char *method, const char *pattern,
                     void *target, struct error *err) __attribute__((warn_unused_result));

enum route_outcome {
    ROUTE_FOUND,
    ROUTE_NO_PATH,   /* 404 */
    ROUTE_NO_METHOD, /* 405; OPTIONS is never found and ends here */
};

/* `segments`: the path's parts between slashes, decoded. HEAD finds GET. *route is set for
 * ROUTE_FOUND. */
enum route_outcome route_find(const struct route_table *table, const char *method,
                              const struct bytes *segments, size_t n_segments,
                              const struct route **route);
/* "GET, HEAD, OPTIONS" for a path: what Allow says. */
void route_allow(const struct route_table *table, const struct bytes *segments, size_t n_segments,
                 char *allow, size_t size);

#endif
