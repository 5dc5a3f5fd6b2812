#include "ingest/series.h"

#include <inttypes.h>

#include "base/buffer.h"
#include "base/memory.h"

static struct bytes value_text(const struct value *value, struct buffer *out)
{
    switch (value->type) {
    case VALUE_TEXT:
    case VALUE_NUMERIC:
    case VALUE_JSON:
        return value->text;
    case VALUE_INT8:
    case VALUE_TIME:
        buffer_printf(out, "%" PRId64, value->int8);
        return buffer_bytes(out);
    case VALUE_FLOAT8:
        buffer_append_double(out, value->float8);
        return buffer_bytes(out);
    case VALUE_BOOL:
        return bytes_of_string(value->boolean ? "true" : "false");
    }
    die("value type %d", (int)value->type);
}

static void append_doubled(struct buffer *out, struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '/')
            buffer_append_byte(out, '/');
        buffer_append_byte(out, text.data[i]);
    }
}

struct bytes series_of_row(const struct row *row, struct arena *arena)
{
    const struct track_def *track = &row->table->track;
    struct buffer series = {0};
    struct bytes copy = {0};
    buffer_append_string(&series, "");
    for (size_t i = 0; i < track->n_by; i++) {
        const struct value *value = &row->values[track->by[i]];
        struct buffer number = {0};
        if (value->is_null)
            goto done;
        if (i > 0)
            buffer_append_byte(&series, '/');
        append_doubled(&series, value_text(value, &number));
        buffer_free(&number);
    }
    copy = arena_copy(arena, buffer_bytes(&series));
done:
    buffer_free(&series);
    return copy;
}

bool series_number(const struct row *row, struct arena *arena, struct healed_number *out)
{
    const struct track_def *track = &row->table->track;
    if (!track->by)
        return false;
    const struct value *sequence = &row->values[track->sequence];
    const struct value *time = &row->values[track->time];
    if (sequence->is_null || sequence->type != VALUE_INT8 || time->is_null ||
        time->type != VALUE_TIME)
        return false;
    struct bytes series = series_of_row(row, arena);
    if (!series.data)
        return false;
    *out = (struct healed_number){.table = row->table->name,
                                  .series = series,
                                  .sequence = sequence->int8,
                                  .time_ms = time->int8};
    return true;
}
