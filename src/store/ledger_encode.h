/* The ledger's statements of a batch. Private to store. */
#ifndef STORE_LEDGER_ENCODE_H
#define STORE_LEDGER_ENCODE_H

#include "store/ledger.h"
#include "store/segment.h"

/* Adds what there is, at most five statements. `found` is filled while they are answered. The
 * ranges, which several workers may share, come last: they are locked for the shortest time. */
void ledger_encode(const struct ledger_update *update, const char *group_id,
                   struct ledger_found *found, struct segment *segment);

#endif
