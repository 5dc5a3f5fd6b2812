#include "app/fit.h"

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

bool fit_check(const struct schema *schema, const struct rules_def *def, struct error *err)
{
    if (!schema_check_migrations(schema, err))
        return false;
    for (size_t i = 0; i < def->n_streams; i++)
        for (size_t t = 0; !rests(schema, &def->streams[i]) && t < def->streams[i].n_tables; t++)
            if (!schema_check_table(schema, &def->streams[i].tables[t], err))
                return error_context(err, "%s", def->streams[i].file);
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

const char **fit_tables(const struct rules_def *def, size_t *n)
{
    const char **names = NULL;
    *n = 0;
    for (size_t i = 0; i < def->n_streams; i++)
        for (size_t t = 0; t < def->streams[i].n_tables; t++) {
            names = memory_resize(names, (*n + 1) * sizeof *names);
            names[(*n)++] = def->streams[i].tables[t].name;
        }
    return names;
}
