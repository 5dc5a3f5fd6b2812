/* Follows what retention has deleted (ledger_move_floor in migrations/008_ledger_upkeep.sql). */
#ifndef STORE_FLOOR_H
#define STORE_FLOOR_H

#include <stdint.h>

#include "base/error.h"
#include "model/table.h"
#include "store/control.h"

/* For a tracked table whose key has the time in it. `done` gets how many ranges have expired, -1
 * when another process is at it or the table is not there; on failure 0 with `err`. */
typedef void (*floor_cb)(int64_t n_expired, const struct error *err, void *arg);
void floor_move(struct control *control, const struct table_def *table, floor_cb done, void *arg);

#endif
