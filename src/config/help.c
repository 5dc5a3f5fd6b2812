/* What the table of settings says to people: --help, the documents, the line at start. */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "config/settings.h"
#include "config/table.h"

/* The default as it is shown; "" when there is none worth showing. */
static const char *shown_initial(const struct setting *setting)
{
    return setting->kind == SETTING_RULES ? "by the rules" : setting_initial(setting);
}

static void print_plain(FILE *out, const struct setting *setting)
{
    if (setting->kind == SETTING_GROUP) {
        fprintf(out, "\n%s\n", setting->name);
        return;
    }
    const char *initial = shown_initial(setting);
    fprintf(out, "  %-27s %s", setting->name, setting->help);
    if (setting->choices)
        fprintf(out, ": %s", setting->choices);
    if (setting->alias)
        fprintf(out, "; else %s", setting->alias);
    if (*initial)
        fprintf(out, " [%s]", initial);
    fputc('\n', out);
}

static void print_values(FILE *out, const struct setting *setting)
{
    switch (setting->kind) {
    case SETTING_INT:
    case SETTING_DOUBLE:
        fprintf(out, "%.0f to %.0f", setting->min, setting->max);
        break;
    case SETTING_CHOICE:
        fputs(setting->choices, out);
        break;
    case SETTING_TEXT:
    case SETTING_RULES:
        fputs(setting->secret ? "text, secret" : "text", out);
        break;
    case SETTING_GROUP:
        break;
    }
}

static void print_markdown(FILE *out, const struct setting *setting, bool first)
{
    if (setting->kind == SETTING_GROUP) {
        fprintf(out,
                "%s### %s\n\n| Setting | Default | Values | Meaning |\n| --- | --- | --- | --- |\n",
                first ? "" : "\n", setting->name);
        return;
    }
    fprintf(out, "| `%s` | ", setting->name);
    if (setting->kind == SETTING_RULES)
        fputs("by the rules", out);
    else if (!setting->initial)
        fputs("the installed rules, else `./lua`", out);
    else if (*setting->initial)
        fprintf(out, "`%s`", setting->initial);
    fputs(" | ", out);
    print_values(out, setting);
    fprintf(out, " | %s", setting->help);
    if (setting->alias)
        fprintf(out, "; when unset, `%s` is read", setting->alias);
    fputs(" |\n", out);
}

void settings_print_help(FILE *out, bool markdown)
{
    if (!markdown)
        fputs("Settings, all from the environment; [default], an empty variable counts as unset:\n",
              out);
    for (size_t i = 0; i < settings_table_size; i++) {
        if (markdown)
            print_markdown(out, &settings_table[i], i == 0);
        else
            print_plain(out, &settings_table[i]);
    }
}

/* The value as text; false for what has no value of its own. */
static bool append_value(struct buffer *out, const struct setting *setting,
                         const struct settings *settings)
{
    const void *field = setting_field(setting, settings);
    switch (setting->kind) {
    case SETTING_INT:
        buffer_printf(out, "%d", *(const int *)field);
        return true;
    case SETTING_DOUBLE:
        buffer_append_double(out, *(const double *)field);
        return true;
    case SETTING_TEXT:
    case SETTING_CHOICE:
        buffer_append_string(out, *(const char *const *)field);
        return true;
    case SETTING_GROUP:
    case SETTING_RULES:
        return false;
    }
    die("%s: setting of kind %d", setting->name, (int)setting->kind);
}

/* Quoted where a reader could not see where the value ends. */
static void append_shown(struct buffer *out, const struct setting *setting, const char *value)
{
    buffer_printf(out, "%s%s=", out->size > 0 ? " " : "", setting->name);
    if (setting->secret)
        buffer_append_string(out, "***");
    else if (*value == '\0' || strpbrk(value, " \"\t\n"))
        buffer_append_json(out, bytes_of_string(value));
    else
        buffer_append_string(out, value);
}

char *settings_describe(const struct settings *settings)
{
    struct buffer out = {0};
    struct buffer value = {0};
    buffer_append_string(&out, "");
    for (size_t i = 0; i < settings_table_size; i++) {
        const struct setting *setting = &settings_table[i];
        buffer_clear(&value);
        buffer_append_string(&value, "");
        if (append_value(&value, setting, settings) &&
            strcmp(value.data, setting_initial(setting)) != 0)
            append_shown(&out, setting, value.data);
    }
    buffer_free(&value);
    return out.data;
}
