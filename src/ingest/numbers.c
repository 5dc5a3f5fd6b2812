#include "ingest/numbers.h"

enum { PER_ROW = 2 }; /* columns of a row that hold its number, at most */

static size_t list_columns(const struct table_def *table, size_t columns[PER_ROW])
{
    size_t n = 0;
    if (table->has_newer)
        columns[n++] = table->newer;
    if (table->track.by && !(n > 0 && columns[0] == table->track.sequence))
        columns[n++] = table->track.sequence;
    return n;
}

static size_t count_values(const struct map_result *mapped)
{
    size_t count = 0;
    for (size_t i = 0; i < mapped->n_rows; i++) {
        size_t columns[PER_ROW];
        size_t n = list_columns(mapped->rows[i].table, columns);
        for (size_t c = 0; c < n; c++)
            count += mapped->rows[i].values[columns[c]].is_null;
    }
    return count;
}

void numbers_note(struct part *part, struct batch *batch)
{
    const struct map_result *mapped = &part->mapped;
    part->n_unnumbered = 0;
    if (!part->stream->sequence_from_tracker || mapped->verdict != MAP_ROWS)
        return;
    size_t count = count_values(mapped);
    if (count == 0)
        return;

    batch->has_unnumbered = true;
    part->unnumbered = arena_alloc(&batch->arena, count * sizeof(*part->unnumbered));
    for (size_t i = 0; i < mapped->n_rows; i++) {
        size_t columns[PER_ROW];
        size_t n = list_columns(mapped->rows[i].table, columns);
        for (size_t c = 0; c < n; c++)
            if (mapped->rows[i].values[columns[c]].is_null)
                part->unnumbered[part->n_unnumbered++] = &mapped->rows[i].values[columns[c]];
    }
}

static bool needs_number(const struct entry *entry, const struct part *part)
{
    return !entry->dropped && part->mapped.verdict == MAP_ROWS && part->n_unnumbered > 0;
}

size_t numbers_count(const struct batch *batch, size_t from, size_t to)
{
    size_t count = 0;
    for (size_t i = from; batch->has_unnumbered && i < to; i++) {
        const struct entry *entry = &batch->entries[i];
        for (size_t p = 0; p < entry->n_parts; p++)
            count += needs_number(entry, &entry->parts[p]);
    }
    return count;
}

static void set_number(struct value *value, int64_t number)
{
    *value = (struct value){.type = VALUE_INT8, .int8 = number};
}

void numbers_give(struct batch *batch, size_t from, size_t to, int64_t first)
{
    for (size_t i = from; i < to; i++) {
        struct entry *entry = &batch->entries[i];
        for (size_t p = 0; p < entry->n_parts; p++) {
            const struct part *part = &entry->parts[p];
            if (!needs_number(entry, part))
                continue;
            for (size_t v = 0; v < part->n_unnumbered; v++)
                set_number(part->unnumbered[v], first);
            first++;
        }
    }
}

void numbers_take_back(struct part *part)
{
    for (size_t v = 0; v < part->n_unnumbered; v++)
        *part->unnumbered[v] = (struct value){.type = VALUE_INT8, .is_null = true};
}

const struct row *numbers_copy_row(const struct row *row, int64_t number, struct arena *arena)
{
    const struct table_def *table = row->table;
    struct row *copy = arena_alloc(arena, sizeof(*copy));
    size_t size = table->n_columns * sizeof(*copy->values);
    *copy = (struct row){.table = table, .values = arena_alloc(arena, size)};
    memcpy(copy->values, row->values, size);

    size_t columns[PER_ROW];
    size_t n = list_columns(table, columns);
    for (size_t c = 0; c < n; c++)
        set_number(&copy->values[columns[c]], number);
    return copy;
}
