#include "http/route.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

struct route_table {
    struct route *routes; /* literals before parameters */
    size_t n_routes;
};

static const char *const METHODS[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};

struct route_table *route_table_new(void)
{
    return memory_zero(1, sizeof(struct route_table));
}

void route_table_free(struct route_table *table)
{
    if (!table)
        return;
    free(table->routes);
    free(table);
}

static bool is_param(struct bytes segment)
{
    return segment.size > 1 && segment.data[0] == ':';
}

static bool add_segment(struct route *route, struct bytes segment, struct error *err)
{
    if (route->n_segments == ROUTE_SEGMENTS_MAX)
        return error_set(err, "the path \"%s\" has more than %d parts", route->pattern,
                         ROUTE_SEGMENTS_MAX);
    for (size_t i = 0; is_param(segment) && i < route->n_segments; i++) {
        if (bytes_equal(route->segments[i], segment))
            return error_set(err, "the path \"%s\" names a parameter twice", route->pattern);
    }
    route->segments[route->n_segments++] = segment;
    return true;
}

static bool split_pattern(struct route *route, struct error *err)
{
    const char *rest = route->pattern;
    if (*rest != '/')
        return error_set(err, "the path \"%s\" does not begin with /", route->pattern);
    while (*rest == '/' && rest[1]) {
        size_t size = strcspn(++rest, "/");
        if (!add_segment(route, bytes_of(rest, size), err))
            return false;
        rest += size;
    }
    return true;
}

/* Of two that fit the same path, the one with a literal where they first differ in kind. */
static bool goes_before(const struct route *a, const struct route *b)
{
    for (size_t i = 0; i < a->n_segments && i < b->n_segments; i++) {
        bool a_param = is_param(a->segments[i]), b_param = is_param(b->segments[i]);
        if (a_param != b_param)
            return b_param;
    }
    return a->n_segments < b->n_segments; /* never both: but so the order is one for all */
}

bool route_table_add(struct route_table *table, const char *method, const char *pattern,
                     void *target, struct error *err)
{
    struct route route = {.method = method, .pattern = pattern, .target = target};
    if (!split_pattern(&route, err))
        return false;
    table->routes = memory_resize(table->routes, (table->n_routes + 1) * sizeof route);
    size_t at = table->n_routes++;
    while (at > 0 && goes_before(&route, &table->routes[at - 1])) {
        table->routes[at] = table->routes[at - 1];
        at--;
    }
    table->routes[at] = route;
    return true;
}

static bool fits(const struct route *route, const struct bytes *segments, size_t n_segments)
{
    if (route->n_segments != n_segments)
        return false;
    for (size_t i = 0; i < n_segments; i++) {
        if (is_param(route->segments[i]) ? segments[i].size == 0
                                         : !bytes_equal(route->segments[i], segments[i]))
            return false;
    }
    return true;
}

static const struct route *find(const struct route_table *table, const char *method,
                                const struct bytes *segments, size_t n_segments)
{
    for (size_t i = 0; i < table->n_routes; i++) {
        const struct route *route = &table->routes[i];
        if ((!method || strcmp(route->method, method) == 0) && fits(route, segments, n_segments))
            return route;
    }
    return NULL;
}

enum route_outcome route_find(const struct route_table *table, const char *method,
                              const struct bytes *segments, size_t n_segments,
                              const struct route **route)
{
    *route = NULL;
    if (strcmp(method, "OPTIONS") != 0) {
        *route = find(table, method, segments, n_segments);
        if (!*route && strcmp(method, "HEAD") == 0)
            *route = find(table, "GET", segments, n_segments);
    }
    if (*route)
        return ROUTE_FOUND;
    return find(table, NULL, segments, n_segments) ? ROUTE_NO_METHOD : ROUTE_NO_PATH;
}

void route_allow(const struct route_table *table, const struct bytes *segments, size_t n_segments,
                 char *allow, size_t size)
{
    size_t used = 0;
    allow[0] = '\0';
    for (size_t i = 0; i < sizeof METHODS / sizeof METHODS[0]; i++) {
        const struct route *route;
        bool is_options = strcmp(METHODS[i], "OPTIONS") == 0;
        if (!is_options &&
            route_find(table, METHODS[i], segments, n_segments, &route) != ROUTE_FOUND)
            continue;
        int n = snprintf(allow + used, size - used, "%s%s", used ? ", " : "", METHODS[i]);
        if (n < 0 || (size_t)n >= size - used)
            die("no room for a list of methods");
        used += (size_t)n;
    }
}
