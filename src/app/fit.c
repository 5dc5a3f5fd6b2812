#include "app/fit.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"

/* An optional stream is live where all its tables exist; without a schema nobody knows. */
static bool rests(const struct schema *schema, const struct stream_def *stream)
{
    bool all = schema != NULL;
    for (size_t t = 0; all && t < stream->n_tables; t++)
        all = schema_has_table(schema, stream->tables[t].name);
    return stream->where_table_exists && !all;
}

bool fit_check_streams(const struct schema *schema, const struct rules_def *def, struct error *err)
{
    if (!schema_check_migrations(schema, err))
        return false;
    for (size_t i = 0; i < def->n_streams; i++)
        for (size_t t = 0; !rests(schema, &def->streams[i]) && t < def->streams[i].n_tables; t++)
            if (!schema_check_table(schema, &def->streams[i].tables[t], err))
                return error_context(err, "%s", def->streams[i].file);
    return true;
}

/* Where a stream rests, what reads its table may lack it too. */
static bool check_queries(const struct schema *schema, const struct endpoint_def *endpoint,
                          bool may_lack_table, struct error *err)
{
    for (size_t q = 0; q < endpoint->n_queries; q++) {
        const struct query_def *query = &endpoint->queries[q];
        bool lacks_table;
        if (!schema_check_statement(schema, query->sql, query->n_types, &lacks_table, err) &&
            !(lacks_table && may_lack_table))
            return error_context(err, "%s: queries[%zu].sql", endpoint->file, q + 1);
    }
    return true;
}

bool fit_check(const struct schema *schema, const struct rules_def *def, struct error *err)
{
    bool any_rests = false;
    if (!fit_check_streams(schema, def, err))
        return false;
    for (size_t i = 0; i < def->n_streams; i++)
        any_rests = any_rests || rests(schema, &def->streams[i]);
    for (size_t i = 0; i < def->n_endpoints; i++)
        if (!check_queries(schema, &def->endpoints[i], any_rests, err))
            return false;
    return true;
}

void fit_warn(const struct schema *schema, const struct rules_def *def)
{
    struct error why;
    for (size_t i = 0; i < def->n_streams; i++)
        for (size_t t = 0; t < def->streams[i].n_tables; t++)
            if (schema_is_slow(schema, &def->streams[i].tables[t], &why))
                log_warn("rules", "%s", why.text);
}

/* Marks the streams that rest, before the generation is published. */
void fit_mark_resting(struct rules_generation *generation, const struct schema *schema)
{
    const struct rules_def *def = rules_generation_def(generation);
    for (size_t i = 0; i < def->n_streams; i++) {
        generation->resting[i] = rests(schema, &def->streams[i]);
        if (generation->resting[i])
            log_info("rules", "stream %s rests: %s", def->streams[i].name,
                     schema ? "its tables do not exist here" : "the schema is not known yet");
    }
}

/* Whether a published generation has streams that could be live by this schema. */
bool fit_could_wake(const struct rules_generation *generation, const struct schema *schema)
{
    const struct rules_def *def = rules_generation_def(generation);
    for (size_t i = 0; i < def->n_streams; i++)
        if (generation->resting[i] && !rests(schema, &def->streams[i]))
            return true;
    return false;
}

bool fit_any_rests(const struct rules_generation *generation)
{
    const struct rules_def *def = rules_generation_def(generation);
    for (size_t i = 0; i < def->n_streams; i++)
        if (generation->resting[i])
            return true;
    return false;
}

/* ---- reading the schema ---- */

static void add_text(const char ***texts, size_t *n, const char *text)
{
    for (size_t i = 0; i < *n; i++)
        if (strcmp((*texts)[i], text) == 0)
            return;
    *texts = memory_resize(*texts, (*n + 1) * sizeof **texts);
    (*texts)[(*n)++] = text;
}

void fit_load_schema(struct control *control, const struct rules_def *def,
                     const struct rules_def *also, bool with_queries,
                     void (*done)(struct schema *schema, const struct error *err, void *arg),
                     void *arg)
{
    const struct rules_def *const defs[] = {def, also};
    const char **tables = NULL, **statements = NULL;
    struct schema_wish wish = {0};
    for (size_t d = 0; d < 2; d++) {
        for (size_t i = 0; defs[d] && i < defs[d]->n_streams; i++)
            for (size_t t = 0; t < defs[d]->streams[i].n_tables; t++)
                add_text(&tables, &wish.n_tables, defs[d]->streams[i].tables[t].name);
        for (size_t i = 0; with_queries && defs[d] && i < defs[d]->n_endpoints; i++)
            for (size_t q = 0; q < defs[d]->endpoints[i].n_queries; q++)
                add_text(&statements, &wish.n_statements, defs[d]->endpoints[i].queries[q].sql);
    }
    wish.tables = tables;
    wish.statements = statements;
    control_load_schema(control, &wish, done, arg);
    free(statements);
    free(tables);
}
