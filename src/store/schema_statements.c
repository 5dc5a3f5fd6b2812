/* Whether PostgreSQL can run the statements that endpoints declare: each is prepared, in a segment
 * of its own, as one that is wrong takes the whole segment with it. */
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "store/schema_private.h"

#define UNDEFINED_TABLE "42P01"

struct describing {
    struct connection *connection;
    struct schema *schema;
    size_t at; /* the statement that is asked about */
    segment_end_cb done;
    void *arg;
};

static void end(struct describing *describing, enum segment_outcome outcome,
                const struct segment_failure *failure)
{
    describing->done(outcome, failure, describing->arg);
    free(describing);
}

static void on_description(const struct pg_result *result, void *arg)
{
    struct describing *describing = arg;
    struct live_statement *statement = &describing->schema->statements[describing->at];
    statement->verdict = STATEMENT_FINE;
    statement->n_params = PQnparams((const PGresult *)result);
}

static void ask_next(struct describing *describing);

/* The last segment's end is that of the whole. */
static void on_reset(enum segment_outcome outcome, const struct segment_failure *failure, void *arg)
{
    end(arg, outcome == SEGMENT_LOST ? outcome : SEGMENT_DONE, failure);
}

static void send_setting(struct describing *describing, const char *sql, segment_end_cb on_set)
{
    struct segment_failure none = {0};
    const struct statement statement = {.sql = sql};
    if (connection_send(describing->connection, &statement, NULL, describing) &&
        connection_sync(describing->connection, on_set, describing))
        return;
    error_set(&none.err, "the connection was lost");
    end(describing, SEGMENT_LOST, &none);
}

static void on_end(enum segment_outcome outcome, const struct segment_failure *failure, void *arg)
{
    struct describing *describing = arg;
    struct live_statement *statement = &describing->schema->statements[describing->at];
    if (outcome == SEGMENT_LOST) {
        end(describing, outcome, failure);
        return;
    }
    if (outcome == SEGMENT_FAILED &&
        sqlstate_classify(failure->sqlstate, failure->constraint) == SQLSTATE_DATA) {
        bool lacks_table = strcmp(failure->sqlstate, UNDEFINED_TABLE) == 0;
        statement->verdict = lacks_table ? STATEMENT_LACKS_TABLE : STATEMENT_WRONG;
        statement->err = failure->err;
    } else if (outcome == SEGMENT_FAILED) {
        describing->at = describing->schema->n_statements; /* locked or busy: the rest waits too */
        ask_next(describing);
        return;
    }
    describing->at++;
    ask_next(describing);
}

static void ask_next(struct describing *describing)
{
    const struct schema *schema = describing->schema;
    struct segment_failure none = {0};
    if (describing->at == schema->n_statements) {
        send_setting(describing, "SET lock_timeout = 0", on_reset);
        return;
    }
    const struct statement statement = {.sql = schema->statements[describing->at].sql,
                                        .describe = true};
    if (connection_send(describing->connection, &statement, on_description, describing) &&
        connection_sync(describing->connection, on_end, describing))
        return;
    error_set(&none.err, "the connection was lost");
    end(describing, SEGMENT_LOST, &none);
}

static void on_set(enum segment_outcome outcome, const struct segment_failure *failure, void *arg)
{
    if (outcome == SEGMENT_LOST)
        end(arg, outcome, failure);
    else
        ask_next(arg);
}

void statements_describe(struct connection *connection, struct schema *schema, segment_end_cb done,
                         void *arg)
{
    struct describing *describing = memory_zero(1, sizeof *describing);
    *describing = (struct describing){connection, schema, 0, done, arg};
    if (schema->n_statements > 0)
        send_setting(describing, "SET lock_timeout = 1000", on_set);
    else
        end(describing, SEGMENT_DONE, &(struct segment_failure){0});
}

void statements_free(struct schema *schema)
{
    for (size_t i = 0; i < schema->n_statements; i++)
        free(schema->statements[i].sql);
    free(schema->statements);
}

static const struct live_statement *find_statement(const struct schema *schema, const char *sql)
{
    for (size_t i = 0; i < schema->n_statements; i++)
        if (strcmp(schema->statements[i].sql, sql) == 0)
            return &schema->statements[i];
    return NULL;
}

bool schema_check_statement(const struct schema *schema, const char *sql, size_t n_params,
                            bool *lacks_table, struct error *err)
{
    const struct live_statement *statement = find_statement(schema, sql);
    *lacks_table = false;
    if (!statement || statement->verdict == STATEMENT_UNKNOWN)
        return true;
    if (statement->verdict == STATEMENT_FINE)
        return (size_t)statement->n_params == n_params ||
               error_set(err, "it has %d parameters, types has %zu", statement->n_params, n_params);
    *err = statement->err;
    *lacks_table = statement->verdict == STATEMENT_LACKS_TABLE;
    return false;
}
