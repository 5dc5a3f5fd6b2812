/* Subcommands: what an operator runs beside the service. Each returns the exit code of the process.
 */
#ifndef APP_COMMANDS_H
#define APP_COMMANDS_H

#include "base/error.h"
#include "config/settings.h"
#include "rules/generation.h"

/* core-service check: loads the rules, runs their examples, holds them against the live schema
 * where the database is reached. */
int command_check(const struct settings *settings);

/* core-service try STREAM: one message a line on stdin, one JSON object a line on stdout:
 * {"rows":{"table":[{...}]}} or {"skip":"reason"} or {"reject":"reason","stage":"map"}. */
int command_try(const struct settings *settings, const char *stream);

/* core-service try --endpoint 'GET /path?query': the answer of the rules in `--lua` on stdout, its
 * status on stderr; queries go to the database of the settings. 0 when the status is below 400. */
int command_try_endpoint(const struct settings *settings, const char *request);

/* core-service rebuild-ledger: fills the ledger from the rows of all tracked tables; one line a day
 * on stdout. */
int command_rebuild_ledger(const struct settings *settings);

/* core-service health: asks the running service on PORT for /readyz; for containers without curl.
 */
int command_health(const struct settings *settings);

/* core-service redrive [--stream S] [--reason R] [--dry-run]: runs rejected messages through the
 * rules on disk; the report as JSON on stdout. 0 when it went to the end, whatever was refused. */
int command_redrive(const struct settings *settings, int argc, char **argv);

/* Says `err` on stderr; returns `code`. */
int command_fail(int code, const struct error *err);
/* The rules of LUA_DIR with one state, examples run; the caller frees or publishes it. NULL with
 * `err`. */
struct rules_generation *command_load(const struct settings *settings, struct error *err)
    __attribute__((warn_unused_result));

#endif
