/* The service: what starts in which order, what signals do, how it ends. */
#ifndef APP_APP_H
#define APP_APP_H

#include "config/settings.h"

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,   /* a command said no */
    EXIT_OPERATOR = 2, /* the operator's trouble at start: settings, a taken port, a missing
                          migration, rules that do not load */
};

/* Runs until SIGTERM or SIGINT, then drains. Returns the exit code of the process; a message has
 * been logged. */
int app_run(const struct settings *settings);

#endif
