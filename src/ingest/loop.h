/* The event loop of one worker: what it does when, and what follows what. It owns consumer, writer
 * and batches, and passes events from one to the other; each of its turns looks at everything. */
#ifndef INGEST_LOOP_H
#define INGEST_LOOP_H

#include "base/error.h"
#include "ingest/mailbox.h"
#include "ingest/worker.h"

struct loop;

/* `mailbox` must outlive it. NULL with `err`. */
struct loop *loop_new(const struct ingest_options *options, struct mailbox *mailbox,
                      struct error *err) __attribute__((warn_unused_result));
/* Returns after a stop. In the worker's thread. */
void loop_run(struct loop *loop);
void loop_free(struct loop *loop);

#endif
