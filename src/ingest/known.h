/* The series of each partition that PostgreSQL has been told of: a set, bounded. Forgetting some
 * costs a statement that changes nothing. */
#ifndef INGEST_KNOWN_H
#define INGEST_KNOWN_H

#include <stdbool.h>
#include <stddef.h>

#include "store/ledger.h"

#define KNOWN_MAX 100000

struct known_item;

/* Zero-initialised is empty. */
struct known {
    struct known_item *items;
};

bool known_has(const struct known *known, const struct series_place *place);
/* A full set is emptied first. */
void known_add(struct known *known, const struct series_place *place);
void known_clear(struct known *known);
size_t known_count(const struct known *known);

#endif
