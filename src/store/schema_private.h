/* What schema.c reads and schema_check.c and upsert.c use. */
#ifndef STORE_SCHEMA_PRIVATE_H
#define STORE_SCHEMA_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "store/schema.h"

struct live_column {
    char *name;
    char *type;      /* as people write it: "character varying(20)" */
    char *base_type; /* of a domain: what it is made of; catalog name: "varchar" */
    bool is_string;
    bool not_null;
    bool has_default; /* may be left out although it is not_null */
    bool read_only;   /* generated, or identity always */
    unsigned accepts; /* bit n: values of enum value_type n are cast to it by assignment */
};

/* An index that can be the conflict target: unique, valid, on plain columns, whole, immediate. */
struct live_key {
    unsigned long index; /* oid */
    char **columns;
    size_t n_columns;
};

struct live_table {
    char *name;                  /* as the rule file has it */
    struct live_column *columns; /* none: the table does not exist */
    size_t n_columns;
    struct live_key *keys;
    size_t n_keys;
    bool is_hypertable;
    char **compressed_by; /* by which rows in compressed chunks are found; none: not configured */
    size_t n_compressed_by;
};

/* What PostgreSQL says of a statement that it was asked to prepare. */
struct live_statement {
    char *sql;
    enum { STATEMENT_UNKNOWN, STATEMENT_FINE, STATEMENT_LACKS_TABLE, STATEMENT_WRONG } verdict;
    int n_params;
    struct error err; /* STATEMENT_LACKS_TABLE, STATEMENT_WRONG */
};

enum timescale_state {
    TIMESCALE_ABSENT, /* not in this database */
    TIMESCALE_LOADED,
    TIMESCALE_NOT_LOADED, /* shared_preload_libraries lacks it: hypertables cannot be written */
};

struct schema {
    atomic_int holders;
    struct live_table *tables;
    size_t n_tables;
    struct live_statement *statements;
    size_t n_statements;
    bool has_move_offsets;
    enum timescale_state timescale;
};

/* Has PostgreSQL prepare each of the schema's statements; then calls `done`: SEGMENT_DONE, or
 * SEGMENT_LOST. */
void statements_describe(struct connection *connection, struct schema *schema, segment_end_cb done,
                         void *arg);
void statements_free(struct schema *schema);

/* NULL: not there. `schema` and `table` may be NULL. */
const struct live_table *schema_table(const struct schema *schema, const char *name);
const struct live_column *schema_column(const struct live_table *table, const char *name);

#endif
