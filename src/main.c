/* Arguments, subcommands, exit codes. */
#include <stdio.h>
#include <string.h>

#include "app/app.h"
#include "app/commands.h"
#include "base/log.h"
#include "config/settings.h"

static const char usage[] =
    "usage: core-service                     run the service\n"
    "       core-service check [--lua DIR]   load the rules, run their examples, compare with the "
    "schema\n"
    "       core-service try STREAM [--lua DIR] < messages\n"
    "                                        show what a stream makes of each line, as JSON\n"
    "       core-service try --endpoint 'GET /path?query' [--lua DIR]\n"
    "                                        show what the rules answer\n"
    "       core-service redrive [--stream S] [--reason R] [--dry-run] [--lua DIR]\n"
    "                                        run rejected messages through the rules again\n"
    "       core-service rebuild-ledger [--lua DIR]\n"
    "                                        fill the ledger from the rows that are there\n"
    "       core-service health              ask the running service whether it is ready\n"
    "       core-service --help | --version\n";

static int wrong_usage(const char *what, const char *argument)
{
    fprintf(stderr, "core-service: %s%s%s\n%s", what, argument ? ": " : "",
            argument ? argument : "", usage);
    return EXIT_OPERATOR;
}

static void setup_log(const struct settings *settings)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    enum log_level level = LOG_INFO;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(settings->log_level, names[i]) == 0)
            level = (enum log_level)i;
    log_setup(level, strcmp(settings->log_format, "json") == 0);
}

/* Takes `--lua DIR` out of the arguments. */
static bool take_lua_dir(int *argc, char **argv, struct settings *settings)
{
    int kept = 0;
    for (int i = 0; i < *argc; i++) {
        if (strcmp(argv[i], "--lua") != 0) {
            argv[kept++] = argv[i];
            continue;
        }
        if (i + 1 == *argc)
            return false;
        settings->lua_dir = argv[++i];
    }
    *argc = kept;
    return true;
}

static int run_command(int argc, char **argv, struct settings *settings)
{
    if (!take_lua_dir(&argc, argv, settings))
        return wrong_usage("--lua needs a directory", NULL);
    if (strcmp(argv[0], "check") == 0 && argc == 1)
        return command_check(settings);
    if (strcmp(argv[0], "try") == 0 && argc == 2 && strcmp(argv[1], "--endpoint") != 0)
        return command_try(settings, argv[1]);
    if (strcmp(argv[0], "try") == 0 && argc == 3 && strcmp(argv[1], "--endpoint") == 0)
        return command_try_endpoint(settings, argv[2]);
    if (strcmp(argv[0], "rebuild-ledger") == 0 && argc == 1)
        return command_rebuild_ledger(settings);
    if (strcmp(argv[0], "redrive") == 0)
        return command_redrive(settings, argc - 1, argv + 1);
    if (strcmp(argv[0], "health") == 0 && argc == 1)
        return command_health(settings);
    return wrong_usage("wrong arguments", argv[0]);
}

static void print_help(bool markdown)
{
    if (!markdown)
        printf(
            "core-service %s: Kafka to PostgreSQL by rules in Lua, and the answer to \"what did I "
            "miss?\"\n\n%s\nSettings are environment variables:\n\n",
            CS_VERSION, usage);
    settings_print_help(stdout, markdown);
}

int main(int argc, char **argv)
{
    struct settings settings;
    struct error err = {""};

    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        print_help(argc > 2 && strcmp(argv[2], "--markdown") == 0);
        return EXIT_OK;
    }
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("core-service %s\n", CS_VERSION);
        return EXIT_OK;
    }
    if (!settings_load(&settings, &err)) {
        fprintf(stderr, "core-service: %s\n", err.text);
        return EXIT_OPERATOR;
    }
    setup_log(&settings);
    return argc > 1 ? run_command(argc - 1, argv + 1, &settings) : app_run(&settings);
}
