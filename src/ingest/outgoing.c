#include "ingest/outgoing.h"

#include "ingest/numbers.h"

/* Fills in what the entries come to. */
static void fill(struct outgoing *out, const struct ledger_cut *before)
{
    const struct reduced *reduced = &out->reduced;
    struct write_batch *write = &out->write;
    reduce_range(out->batch, out->from, out->to, &out->arena, &out->reduced);
    ledger_compute(out->ledger, out->batch, out->from, out->to, &out->reduced, before, &out->arena,
                   &out->cut);
    write->tables = reduced->tables;
    write->n_tables = reduced->n_tables;
    write->offsets = reduced->offsets;
    write->n_offsets = reduced->n_offsets;
    write->rejections = reduced->rejections;
    write->n_rejections = reduced->n_rejections;
    write->ledger = &out->cut.update;
}

/* Which row wins and what the ledger records follow from the numbers. */
static void on_numbers(int64_t first, void *arg)
{
    struct outgoing *out = arg;
    numbers_give(out->batch, out->from, out->to, first);
    fill(out, NULL);
}

/* What is still to be numbered is filled in again by on_numbers(); until then offsets and tables
 * are there for when something goes wrong. */
bool outgoing_make(struct outgoing *out, const char *group_id, const struct ledger *ledger,
                   struct batch *batch, size_t from, size_t to, const struct outgoing *before)
{
    outgoing_clear(out);
    out->batch = batch;
    out->from = from;
    out->to = to;
    out->ledger = ledger;
    out->write = (struct write_batch){.group_id = group_id,
                                      .n_numbers = numbers_count(batch, from, to),
                                      .on_numbers = on_numbers,
                                      .numbers_arg = out};
    fill(out, before ? &before->cut : NULL);
    return out->reduced.n_offsets > 0;
}

static void on_rehearsal_number(int64_t first, void *arg)
{
    struct outgoing *out = arg;
    const struct row **rows = arena_alloc(&out->arena, sizeof(*rows));
    rows[0] = numbers_copy_row(out->rehearsed.rows[0], first, &out->arena);
    out->rehearsed.rows = rows;
}

void outgoing_rehearse(struct outgoing *out, const char *group_id, const struct row *row,
                       bool numbered)
{
    outgoing_clear(out);
    const struct row **rows = arena_alloc(&out->arena, sizeof(*rows));
    rows[0] = row;
    out->rehearsed = (struct write_rows){row->table, rows, 1};
    out->write = (struct write_batch){
        .group_id = group_id, .tables = &out->rehearsed, .n_tables = 1, .rehearse = true};
    if (numbered) {
        out->write.n_numbers = 1;
        out->write.on_numbers = on_rehearsal_number;
        out->write.numbers_arg = out;
    }
}

bool outgoing_is_current(const struct outgoing *out)
{
    for (size_t i = 0; i < out->reduced.n_offsets; i++)
        if (out->reduced.partitions[i]->stored != out->reduced.offsets[i].from)
            return false;
    return out->batch->n_entries == out->to && ledger_is_current(&out->cut);
}

void outgoing_clear(struct outgoing *out)
{
    arena_reset(&out->arena);
    out->batch = NULL;
}

void outgoing_free(struct outgoing *out)
{
    arena_free(&out->arena);
}
