#include "store/pipeline.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/memory.h"
#include "store/libpq_error.h"
#include "store/prepared.h"

enum op_kind { OP_PREPARE, OP_DEALLOCATE, OP_EXECUTE, OP_SYNC };

/* One command whose answer is awaited. */
struct op {
    enum op_kind kind;
    unsigned prepared; /* OP_PREPARE: the number of the statement */
    size_t statement;  /* its place in the segment */
    statement_result_cb on_result;
    segment_end_cb on_end; /* OP_SYNC */
    void *arg;
    struct op *next;
    struct op *prev;
};

struct pipeline {
    PGconn *session; /* NULL once closed */
    struct prepared_cache *prepared;
    struct op *ops;    /* in the order they were sent */
    size_t n_segments; /* OP_SYNCs among them */
    uint64_t segment;  /* number of the segment being sent */
    size_t n_sent;     /* statements sent in it */
    bool deallocate;   /* send DEALLOCATE ALL before the next segment */
    bool between_rows; /* a result was taken whose closing NULL is still to come */
    bool failed;       /* the segment whose answers are being read has failed */
    struct segment_failure failure;
    bool broken;  /* a command could not be sent: what was sent before it has no end */
    bool reading; /* pipeline_read is on the stack */
    bool closed;
};

static void copy_field(char *to, size_t size, const PGresult *result, int field)
{
    const char *text = PQresultErrorField(result, field);
    snprintf(to, size, "%s", text ? text : "");
}

static bool session_error(struct pipeline *pipeline, struct error *err)
{
    pipeline->broken = true;
    const char *message = PQerrorMessage(pipeline->session);
    return libpq_error(err, *message ? message : "the connection was lost");
}

struct pipeline *pipeline_new(PGconn *session, struct error *err)
{
    if (PQsetnonblocking(session, 1) || !PQenterPipelineMode(session)) {
        libpq_error(err, PQerrorMessage(session));
        PQfinish(session);
        return NULL;
    }
    struct pipeline *pipeline = memory_zero(1, sizeof *pipeline);
    pipeline->session = session;
    pipeline->prepared = prepared_new();
    return pipeline;
}

static void release(struct pipeline *pipeline)
{
    prepared_free(pipeline->prepared);
    free(pipeline);
}

void pipeline_close(struct pipeline *pipeline, const struct error *err)
{
    if (!pipeline || pipeline->closed)
        return;
    pipeline->closed = true;
    PQfinish(pipeline->session);
    pipeline->session = NULL;
    struct op *ops = pipeline->ops, *op, *next;
    pipeline->ops = NULL;
    struct segment_failure lost = pipeline->failure;
    DL_FOREACH_SAFE (ops, op, next) {
        DL_DELETE(ops, op);
        if (op->kind == OP_SYNC) {
            lost.err = *err;
            op->on_end(SEGMENT_LOST, &lost, op->arg);
            lost = (struct segment_failure){0};
        }
        free(op);
    }
    if (!pipeline->reading)
        release(pipeline);
}

/* ---- sending ---- */

static struct op *push(struct pipeline *pipeline, enum op_kind kind)
{
    struct op *op = memory_zero(1, sizeof *op);
    op->kind = kind;
    op->statement = pipeline->n_sent;
    DL_APPEND(pipeline->ops, op);
    return op;
}

/* First in its segment, where nothing before it can fail: prepared statements outlive a rollback,
 * so cache and session would differ otherwise. */
static bool send_deallocate(struct pipeline *pipeline, struct error *err)
{
    if (!pipeline->deallocate || pipeline->n_sent)
        return true;
    if (!PQsendQueryParams(pipeline->session, "DEALLOCATE ALL", 0, NULL, NULL, NULL, NULL, 0))
        return session_error(pipeline, err);
    push(pipeline, OP_DEALLOCATE);
    prepared_clear(pipeline->prepared);
    pipeline->deallocate = false;
    return true;
}

/* The name to execute, *name NULL to send the text: a statement whose PREPARE is unanswered and
 * belongs to another segment may turn out not to exist. */
static bool find_or_prepare(struct pipeline *pipeline, const struct statement *statement,
                            const char **name, struct error *err)
{
    struct prepared_statement *known = prepared_find(pipeline->prepared, statement->sql);
    if (known) {
        bool usable = known->state == PREPARED_KNOWN || known->segment == pipeline->segment;
        *name = usable ? known->name : NULL;
        return true;
    }
    if (prepared_count(pipeline->prepared) >= PREPARED_MAX)
        pipeline_forget_prepared(pipeline);
    if (!send_deallocate(pipeline, err))
        return false;
    known = prepared_add(pipeline->prepared, statement->sql, pipeline->segment);
    if (!PQsendPrepare(pipeline->session, known->name, statement->sql, statement->n_params,
                       statement->types))
        return session_error(pipeline, err);
    push(pipeline, OP_PREPARE)->prepared = known->number;
    *name = known->name;
    return true;
}

static int send_statement(struct pipeline *pipeline, const struct statement *statement,
                          const char *name)
{
    if (statement->describe && !name)
        die("a statement is described while another segment prepares it");
    if (statement->describe)
        return PQsendDescribePrepared(pipeline->session, name);
    if (name)
        return PQsendQueryPrepared(pipeline->session, name, statement->n_params, statement->values,
                                   statement->lengths, statement->formats, 0);
    return PQsendQueryParams(pipeline->session, statement->sql, statement->n_params,
                             statement->types, statement->values, statement->lengths,
                             statement->formats, 0);
}

bool pipeline_send(struct pipeline *pipeline, const struct statement *statement, bool prepare,
                   statement_result_cb on_result, void *arg, struct error *err)
{
    const char *name = NULL;
    if (!send_deallocate(pipeline, err))
        return false;
    if (prepare && !find_or_prepare(pipeline, statement, &name, err))
        return false;
    if (!send_statement(pipeline, statement, name))
        return session_error(pipeline, err);
    struct op *op = push(pipeline, OP_EXECUTE);
    op->on_result = on_result;
    op->arg = arg;
    pipeline->n_sent++;
    return true;
}

bool pipeline_sync(struct pipeline *pipeline, segment_end_cb on_end, void *arg, struct error *err)
{
    if (!PQpipelineSync(pipeline->session))
        return session_error(pipeline, err);
    struct op *op = push(pipeline, OP_SYNC);
    op->on_end = on_end;
    op->arg = arg;
    pipeline->n_segments++;
    pipeline->segment++;
    pipeline->n_sent = 0;
    return true;
}

bool pipeline_write(struct pipeline *pipeline, bool *more, struct error *err)
{
    int left = PQflush(pipeline->session);
    *more = left == 1;
    return left >= 0 || session_error(pipeline, err);
}

/* ---- reading ---- */

static void note_failure(struct pipeline *pipeline, const struct op *op, const PGresult *result)
{
    if (pipeline->failed)
        return;
    pipeline->failed = true;
    struct segment_failure *failure = &pipeline->failure;
    copy_field(failure->sqlstate, sizeof failure->sqlstate, result, PG_DIAG_SQLSTATE);
    copy_field(failure->constraint, sizeof failure->constraint, result, PG_DIAG_CONSTRAINT_NAME);
    copy_field(failure->table, sizeof failure->table, result, PG_DIAG_TABLE_NAME);
    failure->statement = op->statement;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    error_set(&failure->err, "%s: %s%s%s%s (SQLSTATE %s)", severity ? severity : "ERROR",
              message ? message : "no message", detail ? " (" : "", detail ? detail : "",
              detail ? ")" : "", failure->sqlstate);
}

static void pop(struct pipeline *pipeline)
{
    struct op *op = pipeline->ops;
    DL_DELETE(pipeline->ops, op);
    free(op);
}

static void end_segment(struct pipeline *pipeline)
{
    struct op op = *pipeline->ops;
    struct segment_failure failure = pipeline->failure;
    enum segment_outcome outcome = pipeline->failed ? SEGMENT_FAILED : SEGMENT_DONE;
    pop(pipeline);
    pipeline->n_segments--;
    pipeline->failed = false;
    pipeline->failure = (struct segment_failure){0};
    op.on_end(outcome, &failure, op.arg);
}

static void take_success(struct pipeline *pipeline, const struct op *op, const PGresult *result)
{
    if (op->kind == OP_PREPARE)
        prepared_settle(pipeline->prepared, op->prepared, true);
    else if (op->kind == OP_EXECUTE && op->on_result)
        op->on_result((const struct pg_result *)result, op->arg);
}

/* A failure may also come while the Sync is answered: then it is the commit that failed (a
 * deferred constraint), and its op stays for the sync result. */
static void take_result(struct pipeline *pipeline, const PGresult *result)
{
    const struct op *op = pipeline->ops;
    switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_SYNC:
        end_segment(pipeline);
        return;
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
        pipeline->between_rows = true;
        take_success(pipeline, op, result);
        return;
    case PGRES_PIPELINE_ABORTED:
        break;
    default:
        note_failure(pipeline, op, result);
    }
    pipeline->between_rows = true;
    if (op->kind == OP_PREPARE)
        prepared_settle(pipeline->prepared, op->prepared, false);
}

/* libpq makes an error of its own, without SQLSTATE, of a connection that is gone. */
static bool is_end_of_session(const struct pipeline *pipeline, const PGresult *result)
{
    return PQstatus(pipeline->session) == CONNECTION_BAD &&
           PQresultStatus(result) == PGRES_FATAL_ERROR &&
           !PQresultErrorField(result, PG_DIAG_SQLSTATE);
}

/* False when nothing more can be taken now. */
static bool take_next(struct pipeline *pipeline)
{
    /* PQisBusy also parses what came unasked: notices, and why an idle session was ended. */
    if (PQisBusy(pipeline->session) || !pipeline->ops || pipeline->broken)
        return false;
    PGresult *result = PQgetResult(pipeline->session);
    if (!result) {
        if (!pipeline->between_rows)
            return false;
        pipeline->between_rows = false;
        if (pipeline->ops->kind != OP_SYNC)
            pop(pipeline);
        return true;
    }
    bool ended = is_end_of_session(pipeline, result);
    if (!ended)
        take_result(pipeline, result);
    PQclear(result);
    return !ended;
}

enum pipeline_read pipeline_read(struct pipeline *pipeline, struct error *err)
{
    pipeline->reading = true;
    bool open = PQconsumeInput(pipeline->session); /* if not: what came before the end counts */
    while (!pipeline->closed && take_next(pipeline))
        ;
    pipeline->reading = false;
    if (pipeline->closed) {
        release(pipeline);
        return PIPELINE_CLOSED;
    }
    if (open && !pipeline->broken && PQstatus(pipeline->session) != CONNECTION_BAD)
        return PIPELINE_OPEN;
    session_error(pipeline, err);
    if (pipeline->failed)
        *err = pipeline->failure.err; /* why PostgreSQL hung up, rather than that it did */
    return PIPELINE_BROKEN;
}

size_t pipeline_in_flight(const struct pipeline *pipeline)
{
    return pipeline->n_segments;
}

void pipeline_forget_prepared(struct pipeline *pipeline)
{
    pipeline->deallocate = true;
}
