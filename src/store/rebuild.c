#include "store/rebuild.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "store/libpq_error.h"
#include "store/track.h"

struct part {
    char *name;
    char *newest; /* time of its newest row; NULL: it has none */
    double newest_s;
};

struct rebuild {
    PGconn *session;
    const struct table_def *table;
    char *by; /* as an array's text */
    struct part *parts;
    size_t n_parts;
    struct error *err;
};

/* NULL with the error set. */
static PGresult *ask(struct rebuild *rebuild, const char *sql, const char *const *values, int n)
{
    PGresult *result = PQexecParams(rebuild->session, sql, n, NULL, values, NULL, NULL, 0);
    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        return result;
    error_set(rebuild->err, "%s: %s", rebuild->table->name, PQresultErrorMessage(result));
    PQclear(result);
    return NULL;
}

static bool find_parts(struct rebuild *rebuild)
{
    const char *const values[] = {rebuild->table->name};
    PGresult *result =
        ask(rebuild, "SELECT p.part::text FROM ledger_parts($1::text) AS p (part)", values, 1);
    if (!result)
        return false;
    size_t n = (size_t)PQntuples(result);
    rebuild->parts = memory_zero(n + 1, sizeof *rebuild->parts);
    for (size_t i = 0; i < n; i++)
        rebuild->parts[rebuild->n_parts++].name = memory_string(PQgetvalue(result, (int)i, 0));
    PQclear(result);
    return n > 0 || error_set(rebuild->err, "there is no table %s", rebuild->table->name);
}

/* What lies before `before`. */
static bool find_newest(struct rebuild *rebuild, struct part *part, const char *before)
{
    const struct table_def *table = rebuild->table;
    const char *const values[] = {part->name, table->columns[table->track.time].name, before};
    PGresult *result = ask(rebuild,
                           "SELECT n.at, extract(epoch FROM n.at), (n.at AT TIME ZONE 'UTC')::date"
                           " FROM ledger_newest($1::regclass, $2::text, $3::timestamptz) AS n (at)",
                           values, 3);
    if (!result)
        return false;
    free(part->newest);
    part->newest = PQgetisnull(result, 0, 0) ? NULL : memory_string(PQgetvalue(result, 0, 2));
    part->newest_s = strtod(PQgetvalue(result, 0, 1), NULL);
    PQclear(result);
    return true;
}

static int compare_newest(const void *left, const void *right)
{
    const struct part *a = left, *b = right;
    return (a->newest_s < b->newest_s) - (a->newest_s > b->newest_s);
}

static bool rebuild_day(struct rebuild *rebuild, const struct part *part, long *n_series)
{
    const struct table_def *table = rebuild->table;
    const char *const values[] = {
        part->name,
        table->name,
        rebuild->by,
        table->columns[table->track.sequence].name,
        table->columns[table->track.time].name,
        part->newest,
    };
    PGresult *result = ask(rebuild,
                           "SELECT ledger_rebuild_day($1::regclass, $2::text, $3::text[], $4::text,"
                           " $5::text, $6::date)",
                           values, 6);
    if (!result)
        return false;
    *n_series = strtol(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return true;
}

static bool rebuild_part(struct rebuild *rebuild, struct part *part,
                         void (*on_day)(const struct rebuilt_day *day, void *arg), void *arg)
{
    while (part->newest) {
        struct rebuilt_day day = {.table = rebuild->table->name, .day = part->newest};
        if (!rebuild_day(rebuild, part, &day.n_series))
            return false;
        on_day(&day, arg);
        char before[32];
        snprintf(before, sizeof before, "%s 00:00:00+00", part->newest);
        if (!find_newest(rebuild, part, before))
            return false;
    }
    return true;
}

static bool connect_to(struct rebuild *rebuild, const char *conninfo)
{
    rebuild->session = PQconnectdb(conninfo);
    if (PQstatus(rebuild->session) != CONNECTION_OK)
        return error_set(rebuild->err, "PostgreSQL: %s", PQerrorMessage(rebuild->session));
    PQclear(PQexec(rebuild->session, "SET TimeZone = 'UTC'"));
    PQclear(PQexec(rebuild->session, "SET DateStyle = 'ISO'"));
    return true;
}

bool rebuild_table(const char *conninfo, const struct table_def *table,
                   void (*on_day)(const struct rebuilt_day *day, void *arg), void *arg,
                   struct error *err)
{
    struct rebuild rebuild = {.table = table, .by = track_by_text(table), .err = err};
    bool ok = connect_to(&rebuild, conninfo) && find_parts(&rebuild);
    for (size_t i = 0; ok && i < rebuild.n_parts; i++)
        ok = find_newest(&rebuild, &rebuild.parts[i], "infinity");
    if (ok)
        qsort(rebuild.parts, rebuild.n_parts, sizeof *rebuild.parts, compare_newest);
    for (size_t i = 0; ok && i < rebuild.n_parts; i++)
        ok = rebuild_part(&rebuild, &rebuild.parts[i], on_day, arg);

    for (size_t i = 0; i < rebuild.n_parts; i++) {
        free(rebuild.parts[i].name);
        free(rebuild.parts[i].newest);
    }
    free(rebuild.parts);
    free(rebuild.by);
    PQfinish(rebuild.session);
    return ok;
}
