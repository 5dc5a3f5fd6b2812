/* The one table of settings, for settings.c (reads and checks) and help.c (prints). */
#ifndef CONFIG_TABLE_H
#define CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "config/settings.h"

enum setting_kind {
    SETTING_GROUP,  /* no setting: the heading of those that follow */
    SETTING_INT,    /* int, from `min` to `max` */
    SETTING_DOUBLE, /* double, from `min` to `max` */
    SETTING_TEXT,   /* const char * */
    SETTING_CHOICE, /* const char *, one of `choices` */
    SETTING_RULES,  /* kept nowhere: the rules read it with cs.env */
};

struct setting {
    enum setting_kind kind;
    const char *name;    /* of the variable; of a group its heading */
    const char *alias;   /* the variable that is read when `name` is not set, or NULL */
    size_t offset;       /* in struct settings */
    const char *initial; /* the default as text */
    double min, max;
    const char *choices; /* "debug, info, warn, error" */
    bool secret;         /* its value is never shown */
    bool may_be_empty;   /* "" is a value, not "unset" */
    const char *help;    /* one line */
};

extern const struct setting settings_table[];
extern const size_t settings_table_size;

/* The default: `initial`, or what is found on this machine (LUA_DIR). */
const char *setting_initial(const struct setting *setting);
/* Where the setting is kept in `*settings`. */
const void *setting_field(const struct setting *setting, const struct settings *settings);

#endif
