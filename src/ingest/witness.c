#include "ingest/witness.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/memory.h"

struct witness {
    char *table;
    struct arena arena; /* all below */
    struct column_def *columns;
    size_t n_columns;
    struct row row;
};

static struct witness *find(const struct witnesses *witnesses, const char *table)
{
    for (size_t i = 0; i < witnesses->count; i++)
        if (strcmp(witnesses->items[i]->table, table) == 0)
            return witnesses->items[i];
    return NULL;
}

static struct witness *add(struct witnesses *witnesses, const char *table)
{
    struct witness *witness = memory_zero(1, sizeof(*witness));
    witness->table = memory_string(table);
    witnesses->items =
        memory_resize(witnesses->items, (witnesses->count + 1) * sizeof(*witnesses->items));
    witnesses->items[witnesses->count++] = witness;
    return witness;
}

static bool has_text(const struct value *value)
{
    return !value->is_null &&
           (value->type == VALUE_TEXT || value->type == VALUE_NUMERIC || value->type == VALUE_JSON);
}

static void copy_row(struct witness *witness, const struct row *row)
{
    const struct table_def *table = row->table;
    witness->n_columns = table->n_columns;
    witness->columns = arena_alloc(&witness->arena, table->n_columns * sizeof(*witness->columns));
    witness->row.values =
        arena_alloc(&witness->arena, table->n_columns * sizeof(*witness->row.values));
    for (size_t i = 0; i < table->n_columns; i++) {
        struct bytes name = bytes_of_string(table->columns[i].name);
        witness->columns[i] = table->columns[i];
        witness->columns[i].name = arena_copy(&witness->arena, name).data;

        struct value *value = &witness->row.values[i];
        *value = row->values[i];
        value->source = arena_copy(&witness->arena, value->source);
        if (has_text(value))
            value->text = arena_copy(&witness->arena, value->text);
    }
}

void witnesses_keep(struct witnesses *witnesses, const struct row *row)
{
    struct witness *witness = find(witnesses, row->table->name);
    if (!witness)
        witness = add(witnesses, row->table->name);
    arena_reset(&witness->arena);
    copy_row(witness, row);
}

/* Rules may have been reloaded since: it only serves when the columns are still the same. */
static bool fits(const struct witness *witness, const struct table_def *table)
{
    if (witness->n_columns != table->n_columns)
        return false;
    for (size_t i = 0; i < table->n_columns; i++)
        if (witness->columns[i].type != table->columns[i].type ||
            strcmp(witness->columns[i].name, table->columns[i].name) != 0)
            return false;
    return true;
}

const struct row *witnesses_find(struct witnesses *witnesses, const struct table_def *table)
{
    struct witness *witness = find(witnesses, table->name);
    if (!witness || !fits(witness, table))
        return NULL;
    witness->row.table = table;
    return &witness->row;
}

void witnesses_free(struct witnesses *witnesses)
{
    for (size_t i = 0; i < witnesses->count; i++) {
        arena_free(&witnesses->items[i]->arena);
        free(witnesses->items[i]->table);
        free(witnesses->items[i]);
    }
    free(witnesses->items);
    *witnesses = (struct witnesses){0};
}
