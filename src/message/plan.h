/* What reader_plan_new() makes of the paths of all shapes: one tree of the keys that matter, so
 * that a message is walked once whatever the number of shapes, and for each shape where to look in
 * it. Only reader.c looks inside. */
#ifndef MESSAGE_PLAN_H
#define MESSAGE_PLAN_H

#include <stddef.h>

#include "base/arena.h"
#include "message/json.h"
#include "message/reader.h"

struct plan_path {
    const char *text; /* as declared, for messages */
    size_t place;     /* index into reader_plan.places */
};

/* Where one shape finds one field: the first path that is there. */
struct plan_source {
    struct plan_path *paths;
    size_t n_paths;
};

struct reader_plan {
    struct arena arena; /* everything below lies in it */
    struct field_def *fields;
    size_t n_fields;
    struct plan_source *sources; /* n_shapes times n_fields, shape after shape */
    size_t n_shapes;
    struct json_place *places;
    size_t n_places;
};

static inline const struct plan_source *plan_source_of(const struct reader_plan *plan, size_t shape,
                                                       size_t field)
{
    return &plan->sources[shape * plan->n_fields + field];
}

#endif
