/* Which statements one session has prepared, by their text. */
#ifndef STORE_PREPARED_H
#define STORE_PREPARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* So many are kept; one more, and all are forgotten (rules were reloaded again and again). */
#define PREPARED_MAX 256

enum prepared_state {
    PREPARED_SENT, /* PostgreSQL has not answered yet; safe to use in the segment that sends it */
    PREPARED_KNOWN,
};

struct prepared_statement {
    char *sql;
    char name[24];
    unsigned number; /* never used twice in one session */
    enum prepared_state state;
    uint64_t segment; /* in which it was sent */
};

struct prepared_cache;

struct prepared_cache *prepared_new(void);
void prepared_free(struct prepared_cache *cache);
/* NULL: not there. */
struct prepared_statement *prepared_find(struct prepared_cache *cache, const char *sql);
struct prepared_statement *prepared_add(struct prepared_cache *cache, const char *sql,
                                        uint64_t segment);
/* PostgreSQL's answer to the PREPARE of that number; one that has been forgotten meanwhile is
 * passed over. */
void prepared_settle(struct prepared_cache *cache, unsigned number, bool ok);
size_t prepared_count(const struct prepared_cache *cache);
void prepared_clear(struct prepared_cache *cache);

#endif
