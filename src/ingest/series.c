#include "ingest/series.h"

#include "model/series.h"

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
