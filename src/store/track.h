/* What the ledger's functions in SQL want to know of a tracked table. Private to store. */
#ifndef STORE_TRACK_H
#define STORE_TRACK_H

#include "model/table.h"

/* The names of track.by as the text of an array; free() it. */
char *track_by_text(const struct table_def *table);

#endif
