/* Brings one batch at a time into PostgreSQL, whatever PostgreSQL says: waits and repeats, asks
 * after a lost connection whether it was committed, finds refused messages by bisection
 * (refusal.h). */
#ifndef INGEST_DELIVERY_H
#define INGEST_DELIVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/batch.h"
#include "ingest/counts.h"
#include "ingest/ledger.h"
#include "model/table.h"
#include "store/writer.h"

struct delivery;

/* A table that refuses every row. */
struct refused_table {
    const char *topic; /* whose messages cannot be stored */
    const char *stream;
    const char *table;
    const char *sqlstate;
    const char *reason;
    bool certain; /* other rows were refused too; else there was none to compare with */
};

struct delivery_events {
    /* The batch is dealt with: stored, rejected, or entries of it dropped. The delivery is idle, or
     * at the batch that was made ready behind it. */
    void (*on_finished)(void *arg);
    /* Another worker has moved the offsets: the batch is given up, offsets must be read again. */
    void (*on_swapped)(void *arg);
    /* Before on_finished: entries of the topic from here on are dropped from the batch; the topic's
     * partitions stand at `stored`. */
    void (*on_held)(const struct refused_table *refused, void *arg);
    /* Entries up to here of these partitions were committed. */
    void (*on_stored)(struct partition *const *partitions, size_t n_partitions, void *arg);
    /* Messages behind those of the batch, as rows to compare with. NULL: none. */
    const struct batch *(*next_batch)(void *arg);
    /* Something has ended: delivery_step may have more to do. */
    void (*on_progress)(void *arg);
};

struct delivery *delivery_new(struct writer *writer, const char *group_id, struct counts *counts,
                              struct ledger *ledger, const struct delivery_events *events,
                              void *arg);
/* Not while it is writing: the writer goes first. */
void delivery_free(struct delivery *delivery);

bool delivery_is_idle(const struct delivery *delivery);
/* Takes on a batch with at least one entry; it must stay until on_finished or on_swapped, or until
 * it is idle after delivery_abandon. Only when idle. */
void delivery_begin(struct delivery *delivery, struct batch *batch);
/* While a batch is written: makes the one behind it ready, which is sent as soon as the first is
 * committed, and then is the one that was begun (on_finished is told of the first, and the delivery
 * stays busy). Nothing happens where that cannot be; until then the batch is still the caller's. */
void delivery_prepare_next(struct delivery *delivery, struct batch *batch);
/* Takes that back. */
void delivery_forget_next(struct delivery *delivery);
/* Does what can be done now; calls no event but on_finished, on_swapped and on_held. */
void delivery_step(struct delivery *delivery, int64_t now_ms);
/* Gives the batch up; a write in flight is waited for (writer_reset ends it), and counted. No event
 * but on_stored and on_progress comes after. */
void delivery_abandon(struct delivery *delivery);
/* Tries at once what waits for its time. */
void delivery_hurry(struct delivery *delivery);

/* Why the present write does not get through, "" when it does. */
const char *delivery_trouble(const struct delivery *delivery);

#endif
