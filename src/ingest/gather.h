/* Fills a batch with messages: reads them from the consumer and has the rules map them. A batch
 * takes the generation of rules that is current when its first message comes. */
#ifndef INGEST_GATHER_H
#define INGEST_GATHER_H

#include <stdbool.h>
#include <stddef.h>

#include "config/settings.h"
#include "ingest/batch.h"
#include "ingest/consumer.h"
#include "ingest/partition.h"
#include "rules/generation.h"

/* A batch and the generation that it holds. */
struct load {
    struct batch batch;
    struct rules_generation *generation; /* NULL while the batch is empty */
};

struct gather {
    const struct settings *settings;
    struct rules_registry *rules;
    size_t slot;
    struct consumer *consumer;
    struct partitions *partitions;
    size_t typical_bytes; /* that a message of the last read came to; 0: none was read yet */
};

/* Takes what is at hand, up to one read. */
enum gather_result {
    GATHER_EMPTY, /* there is no more at hand */
    GATHER_MORE,  /* there may be more */
    GATHER_FULL,  /* the batch is at its limit */
};
enum gather_result gather_step(struct gather *gather, struct load *load);
bool gather_is_full(const struct gather *gather, const struct load *load);
/* A partition goes on elsewhere; `is_lost`: messages are missing there. */
void gather_jump(struct gather *gather, struct load *load, struct partition *partition, int64_t to,
                 bool is_lost);
void gather_reset(struct gather *gather, struct load *load);

#endif
