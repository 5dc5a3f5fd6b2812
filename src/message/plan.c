#include "message/plan.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/memory.h"

/* A key of the tree while it grows. Links are indexes, 0 for none: the root is nobody's child. */
struct node {
    struct bytes key; /* in a path of the plan's arena */
    size_t first_child;
    size_t next;
    size_t place; /* its index once the tree is complete */
};

struct builder {
    struct reader_plan *plan;
    struct node *nodes;
    size_t n_nodes;
};

static size_t count_parts(const char *path)
{
    size_t count = 1;
    for (; *path; path++)
        count += *path == '.';
    return count;
}

/* The most nodes that the tree can have. */
static size_t count_all_parts(const struct reader_def *def)
{
    size_t count = 1;
    for (size_t shape = 0; shape < def->n_shapes; shape++)
        for (size_t field = 0; field < def->n_fields; field++) {
            const struct field_paths *paths = &def->shapes[shape].fields[field];
            for (size_t i = 0; i < paths->n_paths; i++)
                count += count_parts(paths->paths[i]);
        }
    return count;
}

static size_t child_of(struct builder *builder, size_t parent, struct bytes key)
{
    struct node *nodes = builder->nodes;
    size_t *link = &nodes[parent].first_child;
    while (*link && !bytes_equal(nodes[*link].key, key))
        link = &nodes[*link].next;
    if (!*link) {
        *link = builder->n_nodes++;
        nodes[*link] = (struct node){.key = key};
    }
    return *link;
}

/* Adds a path to the tree. plan_path.place is its node until places_assign(). */
static bool add_path(struct builder *builder, const char *text, struct plan_path *path,
                     struct error *err)
{
    if (count_parts(text) > JSON_MAX_DEPTH)
        return error_set(err, "path \"%s\" is deeper than the %d levels a message may have", text,
                         JSON_MAX_DEPTH);
    path->text = arena_copy(&builder->plan->arena, bytes_of_string(text)).data;
    path->place = 0;
    const char *part = path->text;
    for (;;) {
        size_t size = strcspn(part, ".");
        if (size == 0)
            return error_set(err, "path \"%s\" has an empty part", text);
        path->place = child_of(builder, path->place, bytes_of(part, size));
        if (part[size] == '\0')
            return true;
        part += size + 1;
    }
}

static bool add_source(struct builder *builder, const struct field_def *field,
                       const struct field_paths *paths, struct plan_source *source,
                       struct error *err)
{
    if (paths->n_paths == 0 && !field->optional)
        return error_set(err, "no path, and the field is not optional");
    source->n_paths = paths->n_paths;
    source->paths =
        arena_alloc(&builder->plan->arena, (paths->n_paths + 1) * sizeof *source->paths);
    for (size_t i = 0; i < paths->n_paths; i++)
        if (!add_path(builder, paths->paths[i], &source->paths[i], err))
            return false;
    return true;
}

static bool add_shapes(struct builder *builder, const struct reader_def *def, struct error *err)
{
    struct plan_source *source = builder->plan->sources;
    for (size_t shape = 0; shape < def->n_shapes; shape++)
        for (size_t field = 0; field < def->n_fields; field++, source++)
            if (!add_source(builder, &def->fields[field], &def->shapes[shape].fields[field], source,
                            err))
                return error_context(err, "shape %zu, field %s", shape + 1,
                                     def->fields[field].name);
    return true;
}

/* Numbers a node and those below it in the order that json_walk() wants. As deep as a path at most.
 */
static void number_node(struct builder *builder, size_t index)
{
    struct reader_plan *plan = builder->plan;
    struct node *node = &builder->nodes[index];
    node->place = plan->n_places++;
    plan->places[node->place].key = node->key;
    for (size_t child = node->first_child; child; child = builder->nodes[child].next)
        number_node(builder, child);
    plan->places[node->place].end = plan->n_places;
}

static void assign_places(struct builder *builder)
{
    struct reader_plan *plan = builder->plan;
    plan->places = arena_alloc(&plan->arena, builder->n_nodes * sizeof *plan->places);
    number_node(builder, 0);
    for (size_t i = 0; i < plan->n_shapes * plan->n_fields; i++)
        for (size_t j = 0; j < plan->sources[i].n_paths; j++) {
            struct plan_path *path = &plan->sources[i].paths[j];
            path->place = builder->nodes[path->place].place;
        }
}

static struct reader_plan *plan_new(const struct reader_def *def)
{
    struct reader_plan *plan = memory_zero(1, sizeof *plan);
    plan->n_fields = def->n_fields;
    plan->n_shapes = def->n_shapes;
    plan->fields = arena_alloc(&plan->arena, (def->n_fields + 1) * sizeof *plan->fields);
    plan->sources =
        arena_alloc(&plan->arena, (def->n_shapes * def->n_fields + 1) * sizeof *plan->sources);
    for (size_t i = 0; i < def->n_fields; i++) {
        plan->fields[i] = def->fields[i];
        plan->fields[i].name = arena_copy(&plan->arena, bytes_of_string(def->fields[i].name)).data;
    }
    return plan;
}

struct reader_plan *reader_plan_new(const struct reader_def *def, struct error *err)
{
    if (def->n_shapes == 0) {
        error_set(err, "there is no shape");
        return NULL;
    }
    struct reader_plan *plan = plan_new(def);
    struct builder builder = {
        .plan = plan,
        .nodes = memory_zero(count_all_parts(def), sizeof *builder.nodes),
        .n_nodes = 1,
    };
    bool good = add_shapes(&builder, def, err);
    if (good)
        assign_places(&builder);
    free(builder.nodes);
    if (good)
        return plan;
    reader_plan_free(plan);
    return NULL;
}

void reader_plan_free(struct reader_plan *plan)
{
    if (!plan)
        return;
    arena_free(&plan->arena);
    free(plan);
}
