/* The statements of one segment (connection.h), made with their parameters before the connection
 * is free to take them. Private to store. */
#ifndef STORE_SEGMENT_H
#define STORE_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "store/connection.h"
#include "store/params.h"

struct segment_statement;

struct segment {
    struct segment_statement *statements;
    size_t count;
    size_t capacity;
};

/* `sql` is copied; `params` are taken over, NULL: none. `on_result` may be NULL. */
void segment_add(struct segment *segment, const char *sql, struct params *params,
                 statement_result_cb on_result, void *arg);
/* Everything but the Sync, any number of times. False: the connection is not ready. */
bool segment_send(const struct segment *segment, struct connection *connection)
    __attribute__((warn_unused_result));
/* Forgets the statements. */
void segment_clear(struct segment *segment);
void segment_free(struct segment *segment);

#endif
