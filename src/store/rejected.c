#include "store/rejected.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/memory.h"

/* ---- cells ---- */

static const char *cell_text(const PGresult *rows, int row, int column)
{
    return PQgetisnull(rows, row, column) ? NULL : PQgetvalue(rows, row, column);
}

static struct bytes cell_bytes(const PGresult *rows, int row, int column)
{
    if (PQgetisnull(rows, row, column))
        return (struct bytes){0};
    return bytes_of(PQgetvalue(rows, row, column), (size_t)PQgetlength(rows, row, column));
}

static int64_t cell_int8(const PGresult *rows, int row, int column)
{
    return strtoll(PQgetvalue(rows, row, column), NULL, 10);
}

static unsigned hex_digit(char digit)
{
    return (unsigned)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

/* bytea, as PostgreSQL writes it with bytea_output = hex: "\x00ff". */
static struct bytes cell_bytea(const PGresult *rows, int row, int column, struct arena *arena)
{
    struct bytes text = cell_bytes(rows, row, column);
    if (!text.data)
        return text;
    if (text.size < 2 || text.data[1] != 'x')
        die("a bytea that is not in hex");
    size_t size = (text.size - 2) / 2;
    char *data = arena_alloc(arena, size + 1);
    for (size_t i = 0; i < size; i++)
        data[i] = (char)(hex_digit(text.data[2 + 2 * i]) << 4 | hex_digit(text.data[3 + 2 * i]));
    return bytes_of(data, size);
}

/* ---- a page of messages ---- */

static const char list_sql[] =
    "SELECT id, (extract(epoch FROM rejected_at) * 1000)::bigint, stream, topic, partition,"
    " \"offset\", key, payload, stage, reason, sqlstate, rules_hash, symbol, sequence,"
    " (extract(epoch FROM redriven_at) * 1000)::bigint FROM ("
    "  SELECT *, sum(coalesce(octet_length(payload), 0)) OVER (ORDER BY id DESC)"
    "   - coalesce(octet_length(payload), 0) AS bytes_before FROM ("
    "    SELECT * FROM rejected_messages WHERE group_id = $1::text"
    "     AND ($2::text IS NULL OR stream = $2::text)"
    "     AND ($3::text IS NULL OR stage = $3::text)"
    "     AND ($4::text IS NULL OR starts_with(reason, $4::text))"
    "     AND ($5::boolean IS NULL OR (redriven_at IS NOT NULL) = $5::boolean)"
    "     AND id < $6::bigint ORDER BY id DESC LIMIT $7::bigint) AS newest) AS measured"
    " WHERE bytes_before < $8::bigint ORDER BY id DESC";

enum list_column {
    LIST_ID,
    LIST_REJECTED_AT,
    LIST_STREAM,
    LIST_TOPIC,
    LIST_PARTITION,
    LIST_OFFSET,
    LIST_KEY,
    LIST_PAYLOAD,
    LIST_STAGE,
    LIST_REASON,
    LIST_SQLSTATE,
    LIST_RULES_HASH,
    LIST_SYMBOL,
    LIST_SEQUENCE,
    LIST_REDRIVEN_AT,
};

static struct rejected_message read_message(const PGresult *rows, int row, struct arena *arena)
{
    return (struct rejected_message){
        .id = cell_int8(rows, row, LIST_ID),
        .rejected_at_ms = cell_int8(rows, row, LIST_REJECTED_AT),
        .stream = cell_text(rows, row, LIST_STREAM),
        .topic = cell_text(rows, row, LIST_TOPIC),
        .partition = (int32_t)cell_int8(rows, row, LIST_PARTITION),
        .offset = cell_int8(rows, row, LIST_OFFSET),
        .key = cell_bytea(rows, row, LIST_KEY, arena),
        .payload = cell_bytea(rows, row, LIST_PAYLOAD, arena),
        .stage = cell_text(rows, row, LIST_STAGE),
        .reason = cell_bytes(rows, row, LIST_REASON),
        .sqlstate = cell_text(rows, row, LIST_SQLSTATE),
        .rules_hash = cell_text(rows, row, LIST_RULES_HASH),
        .symbol = cell_bytes(rows, row, LIST_SYMBOL),
        .has_sequence = !PQgetisnull(rows, row, LIST_SEQUENCE),
        .sequence = cell_int8(rows, row, LIST_SEQUENCE),
        .redriven = !PQgetisnull(rows, row, LIST_REDRIVEN_AT),
        .redriven_at_ms = cell_int8(rows, row, LIST_REDRIVEN_AT),
    };
}

static void take_list(const struct pg_result *result, const struct error *err, control_done done,
                      void *arg)
{
    rejected_list_cb told = (rejected_list_cb)done;
    if (!result) {
        told(NULL, 0, err, arg);
        return;
    }
    const PGresult *rows = (const PGresult *)result;
    struct arena arena = {0};
    int n = PQntuples(rows);
    struct rejected_message *messages = memory_zero((size_t)n + 1, sizeof *messages);
    for (int row = 0; row < n; row++)
        messages[row] = read_message(rows, row, &arena);
    told(messages, (size_t)n, NULL, arg);
    free(messages);
    arena_free(&arena);
}

void rejected_list(struct control *control, const struct rejected_filter *filter,
                   const struct rejected_page *page, rejected_list_cb done, void *arg)
{
    static const char *const is_redriven[] = {
        [REJECTED_ALL] = NULL,
        [REJECTED_PENDING] = "false",
        [REJECTED_REDRIVEN] = "true",
    };
    char before[24], limit[24], max_bytes[24];
    snprintf(before, sizeof before, "%lld", (long long)page->before);
    snprintf(limit, sizeof limit, "%zu", page->limit);
    snprintf(max_bytes, sizeof max_bytes, "%zu", page->max_bytes);
    const char *const values[] = {
        filter->group_id,           filter->stream, filter->stage, filter->reason,
        is_redriven[filter->state], before,         limit,         max_bytes};
    control_query(control, list_sql, values, sizeof values / sizeof values[0], take_list,
                  (control_done)done, arg);
}

/* ---- what there is ---- */

static const char summary_sql[] =
    "SELECT stream, stage, kind, count(*) FILTER (WHERE redriven_at IS NULL),"
    " count(redriven_at), (extract(epoch FROM max(rejected_at)) * 1000)::bigint FROM ("
    "  SELECT stream, stage, redriven_at, rejected_at,"
    "   coalesce(substring(reason FROM '^[^0-9\"'']{1,60}'), left(reason, 60)) AS kind"
    "  FROM rejected_messages WHERE group_id = $1::text) AS r"
    " GROUP BY stream, stage, kind ORDER BY 4 DESC, 5 DESC, 1, 2, 3 LIMIT $2::bigint";

static void take_summary(const struct pg_result *result, const struct error *err, control_done done,
                         void *arg)
{
    rejected_summary_cb told = (rejected_summary_cb)done;
    if (!result) {
        told(NULL, 0, err, arg);
        return;
    }
    const PGresult *rows = (const PGresult *)result;
    int n = PQntuples(rows);
    struct rejected_kind *kinds = memory_zero((size_t)n + 1, sizeof *kinds);
    for (int row = 0; row < n; row++)
        kinds[row] = (struct rejected_kind){
            .stream = cell_text(rows, row, 0),
            .stage = cell_text(rows, row, 1),
            .reason = cell_bytes(rows, row, 2),
            .pending = cell_int8(rows, row, 3),
            .redriven = cell_int8(rows, row, 4),
            .newest_ms = cell_int8(rows, row, 5),
        };
    told(kinds, (size_t)n, NULL, arg);
    free(kinds);
}

void rejected_summary(struct control *control, const char *group_id, size_t limit,
                      rejected_summary_cb done, void *arg)
{
    char text[24];
    snprintf(text, sizeof text, "%zu", limit);
    const char *const values[] = {group_id, text};
    control_query(control, summary_sql, values, 2, take_summary, (control_done)done, arg);
}

/* ---- the ledger's gaps ---- */

typedef void (*settle_cb)(const struct error *err, void *arg);

static void take_settled(const struct pg_result *result, const struct error *err, control_done done,
                         void *arg)
{
    ((settle_cb)done)(result ? NULL : err, arg);
}

void rejected_settle(struct control *control, const char *group_id, settle_cb done, void *arg)
{
    const char *const values[] = {group_id};
    control_query(control, "SELECT ledger_settle($1::text)", values, 1, take_settled,
                  (control_done)done, arg);
}
