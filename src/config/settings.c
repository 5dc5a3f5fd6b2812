#include "config/settings.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/memory.h"
#include "config/table.h"

/* ---- one setting ---- */

/* Says which variable is wrong, what it holds and what was expected. */
static bool refuse(const struct setting *setting, const char *variable, const char *text,
                   const char *expected, struct error *err)
{
    if (setting->secret)
        return error_set(err, "%s (its value is secret): expected %s", variable, expected);
    return error_set(err, "%s=\"%s\": expected %s", variable, text, expected);
}

static bool is_decimal(const char *text, bool with_fraction)
{
    if (*text == '-')
        text++;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0)
        return false;
    text += digits;
    if (with_fraction && *text == '.')
        text += 1 + strspn(text + 1, "0123456789");
    return *text == '\0';
}

static bool refuse_number(const struct setting *setting, const char *variable, const char *text,
                          struct error *err)
{
    char expected[96];
    snprintf(expected, sizeof expected, "a %s from %.0f to %.0f",
             setting->kind == SETTING_INT ? "whole number" : "decimal number", setting->min,
             setting->max);
    return refuse(setting, variable, text, expected, err);
}

/* Numbers of both kinds; a double holds every int. */
static bool read_number(const struct setting *setting, const char *variable, const char *text,
                        void *field, struct error *err)
{
    if (!is_decimal(text, setting->kind == SETTING_DOUBLE))
        return refuse_number(setting, variable, text, err);
    double number = strtod(text, NULL);
    if (!(number >= setting->min && number <= setting->max))
        return refuse_number(setting, variable, text, err);
    if (setting->kind == SETTING_INT)
        *(int *)field = (int)number;
    else
        *(double *)field = number;
    return true;
}

/* `choices` is a list of the form "text, json". */
static bool is_choice(const char *choices, const char *text)
{
    const char *choice = choices;
    for (;;) {
        size_t size = strcspn(choice, ",");
        if (bytes_equal(bytes_of(choice, size), bytes_of_string(text)))
            return true;
        if (choice[size] == '\0')
            return false;
        choice += size + strlen(", ");
    }
}

static bool read_text(const struct setting *setting, const char *variable, const char *text,
                      const char **field, struct error *err)
{
    bool is_default = strcmp(text, setting_initial(setting)) == 0;
    if (setting->kind == SETTING_CHOICE && !is_default && !is_choice(setting->choices, text)) {
        char expected[128];
        snprintf(expected, sizeof expected, "one of %s", setting->choices);
        return refuse(setting, variable, text, expected, err);
    }
    *field = text;
    return true;
}

/* The value in the environment, NULL when the variable counts as not set. */
static const char *look_up(const struct setting *setting, const char *variable)
{
    const char *text = variable ? getenv(variable) : NULL;
    return text && (*text != '\0' || setting->may_be_empty) ? text : NULL;
}

static bool read_setting(const struct setting *setting, struct settings *settings,
                         struct error *err)
{
    const char *variable = setting->name;
    const char *text = look_up(setting, variable);
    if (!text && (text = look_up(setting, setting->alias)))
        variable = setting->alias;
    if (!text)
        text = setting_initial(setting);
    char *field = (char *)settings + setting->offset;
    switch (setting->kind) {
    case SETTING_INT:
    case SETTING_DOUBLE:
        return read_number(setting, variable, text, field, err);
    case SETTING_TEXT:
    case SETTING_CHOICE:
        return read_text(setting, variable, text, (const char **)(void *)field, err);
    case SETTING_GROUP:
    case SETTING_RULES:
        return true;
    }
    die("%s: setting of kind %d", setting->name, (int)setting->kind);
}

/* ---- what spans several settings ---- */

static bool is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
           strcmp(host, "[::1]") == 0 || strncmp(host, "127.", 4) == 0;
}

static bool is_set(const char *text)
{
    return *text != '\0';
}

static bool check_jwt(const struct settings *settings, struct error *err)
{
    bool secret = is_set(settings->jwt_secret);
    bool key_file = is_set(settings->jwt_public_key_file);
    bool algorithm = is_set(settings->jwt_algorithm);
    if (secret && key_file)
        return error_set(err, "JWT_SECRET and JWT_PUBLIC_KEY_FILE are both set: expected one of "
                              "them, as a token must not choose how it is verified");
    if (!secret && !key_file) {
        const char *alone = algorithm                        ? "JWT_ALGORITHM"
                            : is_set(settings->jwt_issuer)   ? "JWT_ISSUER"
                            : is_set(settings->jwt_audience) ? "JWT_AUDIENCE"
                                                             : NULL;
        return !alone || error_set(err,
                                   "%s is set, but nothing is verified without a key: expected "
                                   "JWT_SECRET or JWT_PUBLIC_KEY_FILE too",
                                   alone);
    }
    if (algorithm && secret != (strcmp(settings->jwt_algorithm, "HS256") == 0))
        return error_set(err, "JWT_ALGORITHM=\"%s\" does not go with %s: expected %s",
                         settings->jwt_algorithm, secret ? "JWT_SECRET" : "JWT_PUBLIC_KEY_FILE",
                         secret ? "HS256" : "RS256 or ES256");
    return true;
}

static bool check_together(const struct settings *settings, struct error *err)
{
    if (!is_loopback(settings->admin_host) && !is_set(settings->admin_token))
        return error_set(err,
                         "ADMIN_TOKEN is not set: expected one, as ADMIN_HOST=\"%s\" can be "
                         "reached from other machines",
                         settings->admin_host);
    if (settings->http_threads == 0 && settings->ingest_workers == 0)
        return error_set(err, "HTTP_THREADS=0 and INGEST_WORKERS=0: expected work for at least one "
                              "of them");
    const char *url = settings->database_url;
    if (is_set(url) && strncmp(url, "postgresql://", 13) != 0 &&
        strncmp(url, "postgres://", 11) != 0 && !strchr(url, '='))
        return error_set(err, "DATABASE_URL (its value is secret): expected "
                              "postgresql://user:password@host:port/name");
    return check_jwt(settings, err);
}

bool settings_load(struct settings *settings, struct error *err)
{
    for (size_t i = 0; i < settings_table_size; i++) {
        if (!read_setting(&settings_table[i], settings, err))
            return false;
    }
    return check_together(settings, err);
}

/* ---- what others make of them ---- */

/* As libpq wants it: name='value' with backslashes before quotes and backslashes. */
static void append_keyword(struct buffer *out, const char *name, const char *value)
{
    buffer_printf(out, "%s%s='", out->size > 0 ? " " : "", name);
    for (const char *c = value; *c; c++) {
        if (*c == '\'' || *c == '\\')
            buffer_append_byte(out, '\\');
        buffer_append_byte(out, *c);
    }
    buffer_append_byte(out, '\'');
}

char *settings_database(const struct settings *settings)
{
    if (is_set(settings->database_url))
        return memory_string(settings->database_url);
    struct buffer text = {0};
    append_keyword(&text, "host", settings->db_host);
    buffer_printf(&text, " port='%d'", settings->db_port);
    append_keyword(&text, "dbname", settings->db_name);
    append_keyword(&text, "user", settings->db_user);
    if (is_set(settings->db_password))
        append_keyword(&text, "password", settings->db_password);
    return text.data;
}
