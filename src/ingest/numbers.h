/* Numbers for the messages of a stream with sequence_from = "tracker" that bring none: all rows of
 * such a message get one number, in the columns `newer` and `track.sequence` where those are NULL.
 * Messages are numbered in the order of the batch, which is each partition's order of offsets. */
#ifndef INGEST_NUMBERS_H
#define INGEST_NUMBERS_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "ingest/batch.h"

/* After a part was mapped: notes which values are to be numbered, none for other streams. */
void numbers_note(struct part *part, struct batch *batch);

/* How many numbers entries [from, to) need. */
size_t numbers_count(const struct batch *batch, size_t from, size_t to);
/* Gives them `first` and those that follow, over what they had from a write that was undone. */
void numbers_give(struct batch *batch, size_t from, size_t to, int64_t first);
/* The message is rejected and never had a number: what it was given goes to another. */
void numbers_take_back(struct part *part);

/* A copy with `number` in those columns, whatever stands there: for a write that is undone. */
const struct row *numbers_copy_row(const struct row *row, int64_t number, struct arena *arena);

#endif
