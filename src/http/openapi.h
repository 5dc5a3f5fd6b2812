/* The description of the API that /openapi.json answers, made of what the endpoints declare. */
#ifndef HTTP_OPENAPI_H
#define HTTP_OPENAPI_H

#include <stdbool.h>

#include "base/buffer.h"
#include "rules/definition.h"

struct openapi_options {
    bool needs_token; /* requests without a token are answered 401 */
    bool is_limited;  /* clients that ask too often are answered 429 */
};

/* Appends an OpenAPI 3.1 document, JSON: the built-in paths and those of the rules, each path with
 * all that answers there. `rules` may be NULL: there are none yet. */
void openapi_write(const struct rules_def *rules, const struct openapi_options *options,
                   struct buffer *json);

#endif
