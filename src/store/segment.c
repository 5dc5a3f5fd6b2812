#include "store/segment.h"

#include <stdlib.h>

#include "base/memory.h"

struct segment_statement {
    char *sql;
    struct params params;
    statement_result_cb on_result;
    void *arg;
};

void segment_add(struct segment *segment, const char *sql, struct params *params,
                 statement_result_cb on_result, void *arg)
{
    if (segment->count == segment->capacity) {
        segment->capacity = segment->capacity ? segment->capacity * 2 : 8;
        segment->statements =
            memory_resize(segment->statements, segment->capacity * sizeof *segment->statements);
    }
    struct segment_statement *added = &segment->statements[segment->count++];
    *added =
        (struct segment_statement){.sql = memory_string(sql), .on_result = on_result, .arg = arg};
    if (params)
        added->params = *params;
}

bool segment_send(const struct segment *segment, struct connection *connection)
{
    for (size_t i = 0; i < segment->count; i++) {
        const struct segment_statement *at = &segment->statements[i];
        const struct statement statement = params_statement(&at->params, at->sql);
        if (!connection_send(connection, &statement, at->on_result, at->arg))
            return false;
    }
    return true;
}

void segment_clear(struct segment *segment)
{
    for (size_t i = 0; i < segment->count; i++) {
        free(segment->statements[i].sql);
        params_free(&segment->statements[i].params);
    }
    segment->count = 0;
}

void segment_free(struct segment *segment)
{
    segment_clear(segment);
    free(segment->statements);
    *segment = (struct segment){0};
}
