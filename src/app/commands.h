/* Subcommands: what an operator runs beside the service. Each returns the exit code of the process.
 */
#ifndef APP_COMMANDS_H
#define APP_COMMANDS_H

#include "config/settings.h"

/* core-service check: loads the rules, runs their examples, holds them against the live schema
 * where the database is reached. */
int command_check(const struct settings *settings);

/* core-service try STREAM: one message a line on stdin, one JSON object a line on stdout:
 * {"rows":{"table":[{...}]}} or {"skip":"reason"} or {"reject":"reason","stage":"map"}. */
int command_try(const struct settings *settings, const char *stream);

/* core-service health: asks the running service on PORT for /readyz; for containers without curl.
 */
int command_health(const struct settings *settings);

#endif
