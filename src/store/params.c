#include "store/params.h"

#include <stdlib.h>

#include "base/memory.h"

struct params params_new(size_t capacity)
{
    struct params params = {.capacity = (int)capacity};
    params.arrays = memory_zero(capacity, sizeof *params.arrays);
    params.values = memory_zero(capacity, sizeof *params.values);
    params.lengths = memory_zero(capacity, sizeof *params.lengths);
    params.formats = memory_zero(capacity, sizeof *params.formats);
    return params;
}

void params_add_text(struct params *params, const char *text)
{
    params->values[params->n++] = text;
}

struct buffer *params_add_array(struct params *params, enum pg_type element, size_t n)
{
    struct buffer *array = &params->arrays[params->n++];
    array_begin(array, element, n);
    return array;
}

struct statement params_statement(const struct params *params, const char *sql)
{
    for (int i = 0; i < params->n; i++) {
        if (!params->arrays[i].data)
            continue;
        params->values[i] = params->arrays[i].data;
        params->lengths[i] = (int)params->arrays[i].size;
        params->formats[i] = 1;
    }
    return (struct statement){
        .sql = sql,
        .n_params = params->n,
        .values = params->values,
        .lengths = params->lengths,
        .formats = params->formats,
    };
}

void params_free(struct params *params)
{
    for (int i = 0; i < params->capacity; i++)
        buffer_free(&params->arrays[i]);
    free(params->arrays);
    free(params->values);
    free(params->lengths);
    free(params->formats);
    *params = (struct params){0};
}

bool params_send_asking(struct params *params, struct connection *connection, const char *sql,
                        statement_result_cb on_result, void *arg)
{
    const struct statement statement = params_statement(params, sql);
    bool sent = connection_send(connection, &statement, on_result, arg);
    params_free(params);
    return sent;
}

bool params_send(struct params *params, struct connection *connection, const char *sql)
{
    return params_send_asking(params, connection, sql, NULL, NULL);
}
