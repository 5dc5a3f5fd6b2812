/* What rejected_messages holds: read for people and for running it again. Written by the writer
 * (rejection, settlement). */
#ifndef STORE_REJECTED_H
#define STORE_REJECTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "store/control.h"

enum rejected_state { REJECTED_ALL, REJECTED_PENDING, REJECTED_REDRIVEN };

struct rejected_filter {
    const char *group_id;
    const char *stream; /* NULL: any; so are the two below */
    const char *stage;
    const char *reason; /* what it begins with */
    enum rejected_state state;
};

struct rejected_message {
    int64_t id;
    int64_t rejected_at_ms;
    const char *stream;
    const char *topic;
    int32_t partition;
    int64_t offset;
    struct bytes key;
    struct bytes payload;
    const char *stage;
    struct bytes reason;
    const char *sqlstate; /* NULL: none; so are those below */
    const char *rules_hash;
    struct bytes symbol;
    bool has_sequence;
    int64_t sequence;
    bool redriven;
    int64_t redriven_at_ms;
};

/* A page, newest first: messages with an id below `before`, at most `limit`, and no more once their
 * payloads reach `max_bytes`. `messages` is borrowed until `done` returns, NULL with `err`. */
struct rejected_page {
    int64_t before;
    size_t limit;
    size_t max_bytes;
};
typedef void (*rejected_list_cb)(const struct rejected_message *messages, size_t n,
                                 const struct error *err, void *arg);
void rejected_list(struct control *control, const struct rejected_filter *filter,
                   const struct rejected_page *page, rejected_list_cb done, void *arg);

/* Messages that were refused alike. `reason` is what their reasons begin with: as far as the first
 * digit or quotation mark, at most 60 characters. */
struct rejected_kind {
    const char *stream;
    const char *stage;
    struct bytes reason;
    int64_t pending;
    int64_t redriven;
    int64_t newest_ms;
};

/* The commonest kinds, at most `limit`; else as above. */
typedef void (*rejected_summary_cb)(const struct rejected_kind *kinds, size_t n,
                                    const struct error *err, void *arg);
void rejected_summary(struct control *control, const char *group_id, size_t limit,
                      rejected_summary_cb done, void *arg);

/* Closes the gaps of the ledger whose rejected messages have all been stored or skipped
 * (ledger_settle): what a re-drive does at its end. */
void rejected_settle(struct control *control, const char *group_id,
                     void (*done)(const struct error *err, void *arg), void *arg);

#endif
