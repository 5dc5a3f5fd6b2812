/* One request, as call.c and examples.c share it. Private to rules/. */
#ifndef RULES_CALL_H
#define RULES_CALL_H

#include "rules/internal.h"

struct rules_call {
    struct rules_state *state;
    const struct endpoint_def *def;
    const struct rules_endpoint *runtime;
    int kept;           /* reference to { request, parameters, results } */
    size_t next;        /* the query to look at next */
    size_t current;     /* the query that runs */
    int waited_ms;      /* between the first reply() and this round */
    bool is_final;      /* reply() has to answer now */
    char *request_id;   /* for lines that the rule logs */
    struct arena arena; /* values of the current query */
};

/* What `kept` holds. */
enum { KEPT_REQUEST = 1, KEPT_PARAMS, KEPT_RESULTS };

/* Whether a path of the endpoint names this parameter. */
bool rules_is_path_param(const struct endpoint_def *def, struct bytes name);
/* Pushes one of them. */
void rules_call_push_kept(lua_State *L, const struct rules_call *call, int which);

/* Adds the fields of the table at `index` to the JSON object, behind those that it has. Raises. */
void rules_append_fields(lua_State *L, int index, struct buffer *object);

#endif
