#include "store/floor.h"

#include <libpq-fe.h>
#include <stdlib.h>

#include "store/track.h"

static void take(const struct pg_result *pg_result, const struct error *err, control_done done,
                 void *arg)
{
    floor_cb told = (floor_cb)done;
    const PGresult *result = (const PGresult *)pg_result;
    if (err)
        told(0, err, arg);
    else if (PQgetisnull(result, 0, 0))
        told(-1, NULL, arg);
    else
        told(strtoll(PQgetvalue(result, 0, 0), NULL, 10), NULL, arg);
}

void floor_move(struct control *control, const struct table_def *table, floor_cb done, void *arg)
{
    char *by = track_by_text(table);
    const char *const values[] = {table->name, by, table->columns[table->track.sequence].name,
                                  table->columns[table->track.time].name};
    control_query(control, "SELECT ledger_move_floor($1::text, $2::text[], $3::text, $4::text)",
                  values, 4, take, (control_done)done, arg);
    free(by);
}
