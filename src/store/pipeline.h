/* One session's pipeline: what was sent, in order, and who waits for each answer. Knows nothing of
 * connecting or events; connection.c says when the socket can be read or written. */
#ifndef STORE_PIPELINE_H
#define STORE_PIPELINE_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "store/connection.h"

struct pipeline;

/* Takes a connected session and puts it into pipeline mode. NULL with `err`, and then the session
 * is finished too. */
struct pipeline *pipeline_new(PGconn *session, struct error *err)
    __attribute__((warn_unused_result));

/* Closes the session and ends what is outstanding with SEGMENT_LOST and `err`. May be called from a
 * callback of pipeline_read; the memory is then released when that returns. NULL is accepted. */
void pipeline_close(struct pipeline *pipeline, const struct error *err);

/* As connection_send and connection_sync. False: the session is broken; `err` says how. With
 * `prepare` false nothing is prepared (a statement that runs once). */
bool pipeline_send(struct pipeline *pipeline, const struct statement *statement, bool prepare,
                   statement_result_cb on_result, void *arg, struct error *err)
    __attribute__((warn_unused_result));
bool pipeline_sync(struct pipeline *pipeline, segment_end_cb on_end, void *arg, struct error *err)
    __attribute__((warn_unused_result));

enum pipeline_read {
    PIPELINE_OPEN,
    PIPELINE_BROKEN, /* `err` says how; the owner closes it */
    PIPELINE_CLOSED, /* a callback closed it: the pointer is dead */
};

/* Reads what has arrived and calls back for each answer. */
enum pipeline_read pipeline_read(struct pipeline *pipeline, struct error *err);
/* Writes what it can. *more: call again when the socket takes more. */
bool pipeline_write(struct pipeline *pipeline, bool *more, struct error *err)
    __attribute__((warn_unused_result));

size_t pipeline_in_flight(const struct pipeline *pipeline);
/* Before the next segment. */
void pipeline_forget_prepared(struct pipeline *pipeline);

#endif
