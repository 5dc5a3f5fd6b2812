#include <string.h>

#include "store/connection.h"

struct rule {
    const char *prefix; /* of the SQLSTATE; all five characters name one condition */
    enum sqlstate_class class;
};

/* The first that fits decides; https://www.postgresql.org/docs/15/errcodes-appendix.html */
static const struct rule rules[] = {
    {"CS001", SQLSTATE_SWAP},      /* raised by ingest_move_offsets */
    {"0A000", SQLSTATE_REPREPARE}, /* "cached plan must not change result type" */
    {"26000", SQLSTATE_REPREPARE}, /* the prepared statement is not there (a pooler's) */
    {"57014", SQLSTATE_HALVE},     /* statement_timeout */
    {"53400", SQLSTATE_HALVE},     /* a configured limit */
    {"25006", SQLSTATE_RETRY},     /* read-only: a standby, or a primary being replaced */
    {"08", SQLSTATE_RETRY},        /* connection */
    {"40", SQLSTATE_RETRY},        /* deadlock, serialization */
    {"53", SQLSTATE_RETRY},        /* out of disk, memory, connections */
    {"55", SQLSTATE_RETRY},        /* locked, in use */
    {"57", SQLSTATE_RETRY},        /* shutting down, starting up */
    {"58", SQLSTATE_RETRY},        /* input/output error */
};

enum sqlstate_class sqlstate_classify(const char *sqlstate, const char *constraint)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (strncmp(sqlstate, rules[i].prefix, strlen(rules[i].prefix)) == 0)
            return rules[i].class;
    /* A check violation without a constraint is "no partition of relation found for row". */
    if (strcmp(sqlstate, "23514") == 0 && (!constraint || !*constraint))
        return SQLSTATE_RETRY;
    return SQLSTATE_DATA;
}
