/* What the rule files declare, as data. Extracted from a Lua state when it is loaded; immutable;
 * owned by the state it came from. */
#ifndef RULES_DEFINITION_H
#define RULES_DEFINITION_H

#include <stdbool.h>
#include <stddef.h>

#include "message/reader.h"
#include "model/table.h"

#define FIELD_NONE ((size_t)-1)

struct stream_def {
    const char *name; /* "MarketDataConsumerV2" */
    const char *file; /* "streams/market_data_v2.lua" */
    const char *topic;
    struct reader_def reader; /* n_fields 0: the whole message is decoded for map() */
    struct reader_plan *plan; /* NULL when there are no fields */
    struct table_def *tables; /* sorted by name */
    size_t n_tables;
    /* numbering = { dense = {...} }: fields that name a numbered series; NULL: global */
    size_t *dense;
    size_t n_dense;
    size_t identify_symbol; /* fields that fill rejected_messages.symbol and .sequence, or
                               FIELD_NONE */
    size_t identify_sequence;
    const char *saved;          /* "Saved %d klines": the log line after commits; exactly one %d */
    bool sequence_from_tracker; /* sequence_from = "tracker" */
    bool where_table_exists;    /* optional = true: live where all its tables exist, elsewhere it is
                                   passed over, topic included */
};

struct query_def {
    const char *sql;
    const enum value_type *types; /* of $1, $2, ... */
    size_t n_types;
};

struct endpoint_def {
    const char *file;   /* "endpoints/klines_missed.lua" */
    const char *method; /* upper case; GET also answers HEAD */
    const char **paths; /* "/api/v1/insights/latest/:symbol" */
    size_t n_paths;
    struct query_def *queries;
    size_t n_queries;
    const char *name;       /* of its log lines; NULL: the file's */
    const char *summary;    /* one line for people; NULL: none */
    const char *parameters; /* what the file says of its parameters, as JSON text, for OpenAPI;
                               NULL: nothing */
};

struct rules_def {
    struct stream_def *streams;
    size_t n_streams;
    struct endpoint_def *endpoints;
    size_t n_endpoints;
};

#endif
