/* What passes between a worker's thread and the others: wishes in, readiness out. Every function
 * may be called from any thread. */
#ifndef INGEST_MAILBOX_H
#define INGEST_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "base/error.h"
#include "store/schema.h"

struct mailbox {
    pthread_mutex_t lock;  /* of all below but the descriptor */
    int wake_fd;           /* an eventfd, readable when there may be mail */
    struct schema *schema; /* held; NULL: no new one */
    bool nudged;
    bool stop;
    bool ready;
    struct buffer reasons; /* why not, one a line */
};

bool mailbox_open(struct mailbox *mailbox, struct error *err) __attribute__((warn_unused_result));
/* When no other thread uses it any more. */
void mailbox_close(struct mailbox *mailbox);

void mailbox_wake(struct mailbox *mailbox);
void mailbox_put_schema(struct mailbox *mailbox, struct schema *schema);
void mailbox_put_nudge(struct mailbox *mailbox);
void mailbox_put_stop(struct mailbox *mailbox);

struct mail {
    struct schema *schema; /* held for the taker, or NULL */
    bool nudged;
    bool stop; /* stays set */
};
/* Takes what has come, and makes the descriptor quiet. */
struct mail mailbox_take(struct mailbox *mailbox);

/* The worker is ready when there are no reasons against it; swaps the buffers. */
void mailbox_publish(struct mailbox *mailbox, struct buffer *reasons);
bool mailbox_is_ready(struct mailbox *mailbox, struct buffer *reasons);

#endif
