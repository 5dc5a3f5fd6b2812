/* The ledger's statements of a batch. Private to store. */
#ifndef STORE_LEDGER_SEND_H
#define STORE_LEDGER_SEND_H

#include <stdbool.h>

#include "store/connection.h"
#include "store/ledger.h"

/* Sends what there is, at most five statements. `found` is filled while they are answered. The
 * ranges, which several workers may share, come last: they are locked for the shortest time. */
bool ledger_send(struct connection *connection, const char *group_id,
                 const struct ledger_update *update, struct ledger_found *found)
    __attribute__((warn_unused_result));

#endif
