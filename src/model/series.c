#include "model/series.h"

#include <inttypes.h>

#include "base/memory.h"

static void append_doubled(struct buffer *series, struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '/')
            buffer_append_byte(series, '/');
        buffer_append_byte(series, text.data[i]);
    }
}

bool series_append(struct buffer *series, bool is_first, const struct value *value)
{
    if (value->is_null)
        return false;
    buffer_append_string(series, is_first ? "" : "/");
    switch (value->type) {
    case VALUE_TEXT:
    case VALUE_NUMERIC:
    case VALUE_JSON:
        append_doubled(series, value->text);
        return true;
    case VALUE_INT8:
    case VALUE_TIME:
        buffer_printf(series, "%" PRId64, value->int8);
        return true;
    case VALUE_FLOAT8:
        buffer_append_double(series, value->float8);
        return true;
    case VALUE_BOOL:
        buffer_append_string(series, value->boolean ? "true" : "false");
        return true;
    }
    die("value type %d", (int)value->type);
}

struct bytes series_of_row(const struct row *row, struct arena *arena)
{
    const struct track_def *track = &row->table->track;
    struct buffer series = {0};
    struct bytes copy = {0};
    bool is_whole = true;
    for (size_t i = 0; is_whole && i < track->n_by; i++)
        is_whole = series_append(&series, i == 0, &row->values[track->by[i]]);
    if (is_whole)
        copy = arena_copy(arena, buffer_bytes(&series));
    buffer_free(&series);
    return copy;
}
