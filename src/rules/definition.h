/* What the rule files declare, as data. Extracted from a Lua state when it is loaded; immutable;
 * owned by the state it came from. */
#ifndef RULES_DEFINITION_H
#define RULES_DEFINITION_H

#include <stdbool.h>
#include <stddef.h>

#include "message/reader.h"
#include "model/table.h"

#define FIELD_NONE         ((size_t)-1)
#define ENDPOINT_PARTS_MAX 32 /* between the slashes of a path */

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

/* What a file says of a parameter, in the path or the query. */
struct param_def {
    const char *name;
    bool is_required;
    const char *description; /* NULL: none */
    const char *schema;      /* JSON Schema, as JSON text */
};

/* What a file says of an answer. */
struct response_def {
    int status;
    const char *description; /* NULL: none */
    const char *schema;      /* as JSON text; NULL: {"error": "..."} */
};

struct endpoint_def {
    const char *file;   /* "endpoints/klines_missed.lua" */
    const char *method; /* upper case; GET also answers HEAD */
    const char **paths; /* "/api/v1/insights/latest/:symbol" */
    size_t n_paths;
    struct query_def *queries;
    size_t n_queries;
    const char *name;         /* of its log lines; NULL: the file's */
    const char *summary;      /* one line for people; NULL: none */
    struct param_def *params; /* sorted by name; the query's are all, or not spoken of */
    size_t n_params;
    struct response_def *responses; /* sorted by status */
    size_t n_responses;
};

struct rules_def {
    struct stream_def *streams;
    size_t n_streams;
    struct endpoint_def *endpoints;
    size_t n_endpoints;
};

#endif
