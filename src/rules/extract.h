/* From what init.lua returns to rules_def and the state's side of it. Private to rules/. */
#ifndef RULES_EXTRACT_H
#define RULES_EXTRACT_H

#include <lua.h>

#include "rules/internal.h"
#include "rules/shape.h"

/* Loads init.lua and checks and extracts everything it returns. Raises what is wrong. */
void rules_extract(lua_State *L, struct rules_state *state);

/* The table of one file, at `index`. */
void rules_extract_stream(const struct shape *shape, int index, struct stream_def *stream,
                          struct rules_stream *runtime);
void rules_extract_endpoint(const struct shape *shape, int index, struct endpoint_def *endpoint,
                            struct rules_endpoint *runtime);
/* Whether two paths are one to the router, whatever their parameters are called. */
bool rules_same_path(const char *a, const char *b);
/* What the endpoint says of itself: summary, parameters, responses. */
void rules_extract_description(const struct shape *shape, int index, struct endpoint_def *endpoint);

#endif
