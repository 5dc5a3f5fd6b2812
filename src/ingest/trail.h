/* What was read from a partition, so that its messages can be recognised later: by them a topic
 * that was deleted and made anew is told from the one that was read, as librdkafka tells no topic
 * ids. One thread. */
#ifndef INGEST_TRAIL_H
#define INGEST_TRAIL_H

#include <stdbool.h>

#include "rules/state.h"
#include "store/marks.h"

struct trail {
    struct marks kept;     /* of the topic that is read, as far as is known; none or both */
    struct mark candidate; /* to be the next recent one, when the present one is still there */
    struct mark sample;    /* read after the candidate */
    bool has_sample_due;   /* the next message is to be the sample */
    bool is_unsaved;       /* `kept` is not in PostgreSQL yet */
};

struct mark mark_of_message(const struct message *message);
/* The same message at the same place. */
bool mark_is_same(const struct mark *a, const struct mark *b);

/* Nothing is known of what is read from now on; `kept` is none or from PostgreSQL. */
void trail_begin(struct trail *trail, const struct marks *kept);
/* For every message. */
static inline void trail_note(struct trail *trail, const struct message *message)
{
    if (!trail->has_sample_due)
        return;
    trail->sample = mark_of_message(message);
    trail->has_sample_due = false;
}

/* What Kafka has at the places of `kept`. */
enum trail_verdict {
    TRAIL_SILENT,  /* it has not said */
    TRAIL_UNKNOWN, /* the recent message is gone: nothing can be told */
    TRAIL_SAME,    /* it is there: the topic is the one that was read */
    TRAIL_CHANGED, /* another is there, but the older one is still the same, or is gone */
    TRAIL_ANEW,    /* others are there */
};

/* What lies at a place. */
struct trail_found {
    enum { FOUND_SILENT, FOUND_GONE, FOUND_MESSAGE } what;
    struct mark mark;
};
/* `oldest` is looked at only when the recent one is another. */
enum trail_verdict trail_judge(const struct marks *kept, const struct trail_found *recent,
                               const struct trail_found *oldest);

/* Makes the sample the candidate, once PostgreSQL is past it, and asks for another one. */
void trail_choose(struct trail *trail, int64_t stored);
/* After a verdict on `kept` (any, when there is none), but for ANEW and SILENT: the candidate, read
 * before the question was asked, becomes the recent one. `low`: the first offset that Kafka has. */
void trail_advance(struct trail *trail, enum trail_verdict verdict, int64_t low);

#endif
