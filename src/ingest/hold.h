/* Topics that are paused because a table refuses every row. */
#ifndef INGEST_HOLD_H
#define INGEST_HOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "ingest/counts.h"
#include "ingest/delivery.h"

struct hold {
    char *topic;
    char *stream;
    char *why;
    bool trying; /* its partitions are consumed again, to see whether it still holds */
    int64_t retry_at_ms;
};

struct holds {
    struct hold *items;
    size_t count;
};

/* Pauses the topic (again), says so, and sets when it is tried next. */
void holds_add(struct holds *holds, const struct refused_table *refused, struct counts *counts,
               int64_t now_ms);
/* A topic whose time has come (or any when `all`), now `trying`; NULL when there is none. */
const char *holds_take_due(struct holds *holds, int64_t now_ms, bool all);
/* Rows of the topic were stored: if it was held it no longer is. */
void holds_passed(struct holds *holds, const char *topic, struct counts *counts);
/* The partitions are gone: whoever gets them finds out for himself. */
void holds_clear(struct holds *holds, struct counts *counts);
/* Appends one line for each. */
void holds_describe(const struct holds *holds, struct buffer *out);

#endif
