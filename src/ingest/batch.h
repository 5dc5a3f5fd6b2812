/* What has been read from Kafka and mapped, in the order it came, until it is stored. A batch
 * belongs to one generation of rules. Payloads are not copied: the Kafka message is kept. */
#ifndef INGEST_BATCH_H
#define INGEST_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "ingest/partition.h"
#include "rules/state.h"

/* What one stream made of one message. */
struct part {
    const struct stream_def *stream;
    struct map_result mapped;
    const char *sqlstate;      /* when PostgreSQL refused it */
    struct value **unnumbered; /* of its rows: what gets a number of ours (numbers.h) */
    size_t n_unnumbered;
};

/* One message; or none, when a partition goes on elsewhere (n_parts 0): messages that Kafka has no
 * more, or the end of a partition behind transaction marks. */
struct entry {
    struct partition *partition;
    int64_t from; /* the partition's offset before this entry, and after it */
    int64_t to;
    struct message message;
    void *kept; /* what holds the message's memory */
    struct part *parts;
    size_t n_parts;
    bool is_lost; /* no message, because Kafka has lost some */
    bool dropped; /* is not to be stored now: its partition is read again from here on */
};

struct batch {
    struct arena arena;
    struct entry *entries;
    size_t n_entries;
    size_t capacity;
    size_t payload_bytes;
    bool has_unnumbered; /* there are rows to be numbered (numbers.h) */
    int64_t began_us;    /* monotonic, when the first entry came */
    const char *rules_hash;
    void (*release)(void *kept);
};

void batch_init(struct batch *batch, void (*release)(void *kept));
/* Gives everything back to the state after batch_init. */
void batch_reset(struct batch *batch);
void batch_free(struct batch *batch);

/* Adds a message with room for `n_parts` parts, which the caller fills; `kept` is released with the
 * batch. The partition moves on to the offset behind it. Texts in `message` must live as long as
 * `kept`, or the partition. */
struct entry *batch_add(struct batch *batch, struct partition *partition,
                        const struct message *message, size_t n_parts, void *kept);
/* The partition goes on at `to` without a message; `is_lost`: messages are missing there. */
void batch_jump(struct batch *batch, struct partition *partition, int64_t to, bool is_lost);

/* Memory that it holds: payloads, keys and what was made of them. */
size_t batch_bytes(const struct batch *batch);

/* Marks the entries from number `first` on of one topic as not to be stored now. */
void batch_drop_topic(struct batch *batch, size_t first, const char *topic);

/* Makes `part` a rejected one: PostgreSQL refused its rows, which stay. Texts are copied. */
void batch_reject_part(struct batch *batch, struct part *part, const char *sqlstate,
                       const char *reason);

#endif
