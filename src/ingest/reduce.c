#include "ingest/reduce.h"

#include <stdlib.h>

/* A row, and a number that tells it from most others: its key's hash while rows are gathered, then
 * what it is sorted by. */
struct place {
    uint64_t number;
    const struct row *row; /* NULL: free */
};

/* The rows of one table while they are gathered: open addressing, a power of two of places, at most
 * half of them taken. */
struct group {
    const struct table_def *table;
    size_t n_seen;
    struct place *places;
    size_t mask;
};

struct groups {
    struct group *items; /* an array in an arena */
    size_t count;
    size_t capacity;
};

static struct group *find_group(struct groups *groups, const struct table_def *table,
                                struct arena *arena)
{
    for (size_t i = 0; i < groups->count; i++)
        if (groups->items[i].table == table)
            return &groups->items[i];

    if (groups->count == groups->capacity) {
        size_t capacity = groups->capacity ? groups->capacity * 2 : 8;
        struct group *items = arena_alloc(arena, capacity * sizeof(*items));
        if (groups->count > 0)
            memcpy(items, groups->items, groups->count * sizeof(*items));
        groups->items = items;
        groups->capacity = capacity;
    }
    struct group *group = &groups->items[groups->count++];
    *group = (struct group){.table = table};
    return group;
}

/* NULL equals nothing, as in PostgreSQL's unique indexes: a row with one in its key is always new.
 */
static bool same_key(const struct row *a, const struct row *b)
{
    for (size_t i = 0; i < a->table->n_key; i++) {
        size_t column = a->table->key[i];
        if (a->values[column].is_null || value_compare(&a->values[column], &b->values[column]) != 0)
            return false;
    }
    return true;
}

static uint64_t hash_key(const struct row *row)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < row->table->n_key; i++) {
        const struct value *value = &row->values[row->table->key[i]];
        if (value->is_null) /* else all of these would look for a place in one chain */
            hash += (uintptr_t)row * UINT64_C(0x9e3779b97f4a7c15);
        hash = value_hash(hash, value);
    }
    return hash;
}

static bool wins(const struct row *later, const struct row *earlier)
{
    const struct table_def *table = later->table;
    return !table->has_newer ||
           value_compare(&later->values[table->newer], &earlier->values[table->newer]) >= 0;
}

static void put_row(struct group *group, const struct row *row)
{
    uint64_t hash = hash_key(row);
    size_t at = hash & group->mask;
    while (group->places[at].row &&
           (group->places[at].number != hash || !same_key(group->places[at].row, row)))
        at = (at + 1) & group->mask;
    if (!group->places[at].row || wins(row, group->places[at].row))
        group->places[at] = (struct place){hash, row};
}

/* In the order of the values wherever it differs. */
static uint64_t order_of(const struct value *value)
{
    uint64_t order = 0;
    if (value->is_null)
        return order;
    switch (value->type) {
    case VALUE_INT8:
    case VALUE_TIME:
        return (uint64_t)value->int8 ^ UINT64_C(1) << 63;
    case VALUE_TEXT:
        for (size_t i = 0; i < sizeof(order); i++)
            order = order << 8 | (i < value->text.size ? (unsigned char)value->text.data[i] : 0);
        return order;
    case VALUE_FLOAT8:
    case VALUE_NUMERIC:
    case VALUE_BOOL:
    case VALUE_JSON:
        return order;
    }
    return order;
}

static int compare_keys(const struct row *a, const struct row *b)
{
    for (size_t i = 0; i < a->table->n_key; i++) {
        size_t column = a->table->key[i];
        int order = value_compare(&a->values[column], &b->values[column]);
        if (order != 0)
            return order;
    }
    return 0;
}

static int compare_places(const void *left, const void *right)
{
    const struct place *a = left;
    const struct place *b = right;
    if (a->number != b->number)
        return a->number < b->number ? -1 : 1;
    return compare_keys(a->row, b->row);
}

static int compare_tables(const void *left, const void *right)
{
    const struct group *a = left;
    const struct group *b = right;
    int order = strcmp(a->table->name, b->table->name);
    return order != 0 ? order : (a->table > b->table) - (a->table < b->table);
}

/* Calls `each` for every row that is to be stored. */
static void for_each_row(const struct batch *batch, size_t from, size_t to,
                         void (*each)(struct groups *groups, const struct row *row,
                                      struct arena *arena),
                         struct groups *groups, struct arena *arena)
{
    for (size_t i = from; i < to; i++) {
        const struct entry *entry = &batch->entries[i];
        for (size_t p = 0; !entry->dropped && p < entry->n_parts; p++) {
            const struct map_result *mapped = &entry->parts[p].mapped;
            for (size_t r = 0; mapped->verdict == MAP_ROWS && r < mapped->n_rows; r++)
                each(groups, &mapped->rows[r], arena);
        }
    }
}

static void count_row(struct groups *groups, const struct row *row, struct arena *arena)
{
    find_group(groups, row->table, arena)->n_seen++;
}

static void take_row(struct groups *groups, const struct row *row, struct arena *arena)
{
    put_row(find_group(groups, row->table, arena), row);
}

static void make_places(struct group *group, struct arena *arena)
{
    size_t places = 16;
    while (places < group->n_seen * 2)
        places *= 2;
    group->mask = places - 1;
    group->places = arena_alloc(arena, places * sizeof(*group->places));
    memset(group->places, 0, places * sizeof(*group->places));
}

/* Moves the rows together and sorts them; returns how many there are. */
static size_t sort_places(struct group *group)
{
    size_t n_rows = 0;
    size_t first = group->table->n_key > 0 ? group->table->key[0] : 0;
    for (size_t at = 0; at <= group->mask; at++) {
        const struct row *row = group->places[at].row;
        if (row)
            group->places[n_rows++] = (struct place){order_of(&row->values[first]), row};
    }
    qsort(group->places, n_rows, sizeof(*group->places), compare_places);
    return n_rows;
}

static struct write_rows close_group(struct group *group, struct arena *arena)
{
    size_t n_rows = sort_places(group);
    const struct row **rows = arena_alloc(arena, n_rows * sizeof(*rows));
    for (size_t i = 0; i < n_rows; i++)
        rows[i] = group->places[i].row;
    return (struct write_rows){.table = group->table, .rows = rows, .n_rows = n_rows};
}

static void reduce_rows(const struct batch *batch, size_t from, size_t to, struct arena *arena,
                        struct reduced *out)
{
    struct groups groups = {0};
    for_each_row(batch, from, to, count_row, &groups, arena);
    for (size_t i = 0; i < groups.count; i++)
        make_places(&groups.items[i], arena);
    for_each_row(batch, from, to, take_row, &groups, arena);

    if (groups.count > 0)
        qsort(groups.items, groups.count, sizeof(*groups.items), compare_tables);
    out->tables = arena_alloc(arena, groups.count * sizeof(*out->tables));
    out->n_seen = arena_alloc(arena, groups.count * sizeof(*out->n_seen));
    out->n_tables = groups.count;
    for (size_t i = 0; i < groups.count; i++) {
        out->n_seen[i] = groups.items[i].n_seen;
        out->tables[i] = close_group(&groups.items[i], arena);
    }
}

static size_t find_offset(const struct reduced *out, const struct partition *partition)
{
    size_t i = out->n_offsets; /* messages come in runs of one partition: the last first */
    while (i > 0 && out->partitions[i - 1] != partition)
        i--;
    return i > 0 ? i - 1 : out->n_offsets;
}

static size_t count_partitions(const struct batch *batch, size_t from, size_t to)
{
    size_t runs = 0;
    for (size_t i = from; i < to; i++)
        if (i == from || batch->entries[i].partition != batch->entries[i - 1].partition)
            runs++;
    return runs;
}

static void reduce_offsets(const struct batch *batch, size_t from, size_t to, struct arena *arena,
                           struct reduced *out)
{
    size_t room = count_partitions(batch, from, to);
    out->offsets = arena_alloc(arena, room * sizeof(*out->offsets));
    out->partitions = arena_alloc(arena, room * sizeof(*out->partitions));
    out->n_offsets = 0;

    for (size_t i = from; i < to; i++) {
        const struct entry *entry = &batch->entries[i];
        if (entry->dropped)
            continue;
        size_t at = find_offset(out, entry->partition);
        if (at == out->n_offsets) {
            out->partitions[out->n_offsets++] = entry->partition;
            out->offsets[at] = (struct offset_move){.topic = entry->partition->topic,
                                                    .partition = entry->partition->number,
                                                    .from = entry->from};
        }
        out->offsets[at].to = entry->to;
    }
}

static size_t count_rejected(const struct batch *batch, size_t from, size_t to)
{
    size_t count = 0;
    for (size_t i = from; i < to; i++)
        for (size_t p = 0; p < batch->entries[i].n_parts; p++)
            count += batch->entries[i].parts[p].mapped.verdict == MAP_REJECT;
    return count;
}

static struct rejection make_rejection(const struct batch *batch, const struct entry *entry,
                                       const struct part *part)
{
    return (struct rejection){
        .stream = part->stream->name,
        .topic = entry->partition->topic,
        .partition = entry->partition->number,
        .offset = entry->message.offset,
        .key = entry->message.key,
        .payload = entry->message.payload,
        .stage = reject_stage_name(part->mapped.stage),
        .reason = part->mapped.reason,
        .sqlstate = part->sqlstate,
        .rules_hash = batch->rules_hash,
        .symbol = part->mapped.symbol,
        .has_sequence = part->mapped.has_sequence,
        .sequence = part->mapped.sequence,
    };
}

static void reduce_rejections(const struct batch *batch, size_t from, size_t to,
                              struct arena *arena, struct reduced *out)
{
    out->rejections =
        arena_alloc(arena, count_rejected(batch, from, to) * sizeof(*out->rejections));
    out->n_rejections = 0;
    for (size_t i = from; i < to; i++) {
        const struct entry *entry = &batch->entries[i];
        for (size_t p = 0; !entry->dropped && p < entry->n_parts; p++)
            if (entry->parts[p].mapped.verdict == MAP_REJECT)
                out->rejections[out->n_rejections++] =
                    make_rejection(batch, entry, &entry->parts[p]);
    }
}

void reduce_range(const struct batch *batch, size_t from, size_t to, struct arena *arena,
                  struct reduced *out)
{
    reduce_rows(batch, from, to, arena, out);
    reduce_offsets(batch, from, to, arena, out);
    reduce_rejections(batch, from, to, arena, out);
}
