/* Parameters of one statement while they are gathered. Private to store. */
#ifndef STORE_PARAMS_H
#define STORE_PARAMS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "store/arrays.h"
#include "store/connection.h"

/* All binary but for those added as text. */
struct params {
    int n;
    int capacity;
    struct buffer *arrays; /* one a parameter, unused for text ones */
    const char **values;
    int *lengths;
    int *formats;
};

struct params params_new(size_t capacity);
/* The text must stay until it is sent. */
void params_add_text(struct params *params, const char *text);
/* The array to fill with `n` elements. */
struct buffer *params_add_array(struct params *params, enum pg_type element, size_t n);
/* The statement with these parameters, which must stay for as long as it is used. */
struct statement params_statement(const struct params *params, const char *sql);
void params_free(struct params *params);
/* Sends the statement and releases the parameters: libpq has copied them. */
bool params_send(struct params *params, struct connection *connection, const char *sql)
    __attribute__((warn_unused_result));
/* The same for a statement whose rows are wanted. */
bool params_send_asking(struct params *params, struct connection *connection, const char *sql,
                        statement_result_cb on_result, void *arg)
    __attribute__((warn_unused_result));

#endif
