/* config/: defaults, checks and what is shown of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "config/settings.h"
#include "config/table.h"

/* No variable of the machine that runs this may decide. */
static int forget_environment(void **state)
{
    (void)state;
    for (size_t i = 0; i < settings_table_size; i++) {
        if (settings_table[i].kind == SETTING_GROUP)
            continue;
        unsetenv(settings_table[i].name);
        if (settings_table[i].alias)
            unsetenv(settings_table[i].alias);
    }
    return 0;
}

static struct settings load(void)
{
    struct settings settings;
    struct error err = {0};
    if (!settings_load(&settings, &err))
        fail_msg("%s", err.text);
    return settings;
}

static void expect_refusal(const char *expected)
{
    struct settings settings;
    struct error err = {0};
    assert_false(settings_load(&settings, &err));
    assert_string_equal(err.text, expected);
}

static void none_is_required(void **state)
{
    (void)state;
    struct settings settings = load();
    assert_int_equal(settings.port, 8000);
    assert_string_equal(settings.kafka_brokers, "localhost:9092");
    assert_string_equal(settings.kafka_group_id, "core-service-market-consumer");
    assert_int_equal(settings.batch_size, 10000);
    assert_int_equal(settings.batch_bytes, 16 * 1024 * 1024);
    assert_int_equal(settings.rules_memory_bytes, 64 * 1024 * 1024);
    assert_true(settings.rate_limit_rps == 0);
    assert_string_equal(settings.cors_origins, "*");
    assert_string_equal(settings.jwt_secret, "");
    char *text = settings_describe(&settings);
    assert_string_equal(text, "");
    free(text);
}

static void every_default_passes_its_own_check(void **state)
{
    (void)state;
    for (size_t i = 0; i < settings_table_size; i++) {
        const struct setting *setting = &settings_table[i];
        if (setting->kind == SETTING_INT || setting->kind == SETTING_CHOICE)
            setenv(setting->name, setting_initial(setting), 1);
    }
    load();
}

static void an_empty_variable_counts_as_unset(void **state)
{
    (void)state;
    setenv("PORT", "", 1);
    setenv("KAFKA_BROKERS", "", 1);
    setenv("LOG_LEVEL", "", 1);
    setenv("CORS_ORIGINS", "", 1);
    struct settings settings = load();
    assert_int_equal(settings.port, 8000);
    assert_string_equal(settings.kafka_brokers, "localhost:9092");
    assert_string_equal(settings.log_level, "info");
    assert_string_equal(settings.cors_origins, "");
}

static void the_group_has_two_names_and_the_first_wins(void **state)
{
    (void)state;
    setenv("KAFKA_GROUP_ID", "second", 1);
    assert_string_equal(load().kafka_group_id, "second");
    setenv("MARKET_CONSUMER_GROUP_ID", "first", 1);
    assert_string_equal(load().kafka_group_id, "first");
    setenv("MARKET_CONSUMER_GROUP_ID", "", 1);
    assert_string_equal(load().kafka_group_id, "second");
}

static void a_wrong_number_is_named_with_its_range(void **state)
{
    (void)state;
    static const char *const wrong[] = {"abc", "65536", "-1",   "8000 ", " 8000",
                                        "8e3", "0x50",  "80.0", "nan",   "99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char expected[128];
        setenv("PORT", wrong[i], 1);
        snprintf(expected, sizeof expected, "PORT=\"%s\": expected a whole number from 0 to 65535",
                 wrong[i]);
        expect_refusal(expected);
    }
    setenv("PORT", "0", 1);
    setenv("RATE_LIMIT_RPS", "2.5", 1);
    assert_true(load().rate_limit_rps == 2.5);
    setenv("RATE_LIMIT_RPS", "fast", 1);
    expect_refusal("RATE_LIMIT_RPS=\"fast\": expected a decimal number from 0 to 1000000");
}

static void a_wrong_choice_is_named_with_the_right_ones(void **state)
{
    (void)state;
    setenv("LOG_FORMAT", "json", 1);
    setenv("LOG_LEVEL", "error", 1);
    load();
    static const char *const wrong[] = {"verbose", "err", "info,", "info, warn", "INFO"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char expected[128];
        setenv("LOG_LEVEL", wrong[i], 1);
        snprintf(expected, sizeof expected,
                 "LOG_LEVEL=\"%s\": expected one of debug, info, warn, error", wrong[i]);
        expect_refusal(expected);
    }
}

static void an_admin_listener_that_others_reach_needs_a_token(void **state)
{
    (void)state;
    setenv("ADMIN_HOST", "0.0.0.0", 1);
    expect_refusal("ADMIN_TOKEN is not set: expected one, as ADMIN_HOST=\"0.0.0.0\" can be reached "
                   "from other machines");
    setenv("ADMIN_TOKEN", "s3cret", 1);
    load();
    unsetenv("ADMIN_TOKEN");
    setenv("ADMIN_HOST", "::1", 1);
    load();
}

static void half_a_jwt_configuration_is_refused(void **state)
{
    (void)state;
    setenv("JWT_ISSUER", "gateway", 1);
    expect_refusal("JWT_ISSUER is set, but nothing is verified without a key: expected JWT_SECRET "
                   "or JWT_PUBLIC_KEY_FILE too");
    setenv("JWT_SECRET", "s3cret", 1);
    load();
    setenv("JWT_ALGORITHM", "RS256", 1);
    expect_refusal("JWT_ALGORITHM=\"RS256\" does not go with JWT_SECRET: expected HS256");
    unsetenv("JWT_SECRET");
    setenv("JWT_PUBLIC_KEY_FILE", "key.pem", 1);
    load();
    setenv("JWT_ALGORITHM", "HS256", 1);
    expect_refusal("JWT_ALGORITHM=\"HS256\" does not go with JWT_PUBLIC_KEY_FILE: expected RS256 "
                   "or ES256");
    setenv("JWT_SECRET", "s3cret", 1);
    expect_refusal("JWT_SECRET and JWT_PUBLIC_KEY_FILE are both set: expected one of them, as a "
                   "token must not choose how it is verified");
}

static void somebody_must_work(void **state)
{
    (void)state;
    setenv("HTTP_THREADS", "0", 1);
    load();
    setenv("INGEST_WORKERS", "0", 1);
    expect_refusal("HTTP_THREADS=0 and INGEST_WORKERS=0: expected work for at least one of them");
}

static void the_database_is_a_url_or_made_of_parts(void **state)
{
    (void)state;
    setenv("DB_HOST", "db.example", 1);
    setenv("DB_PASSWORD", "it's a \\ secret", 1);
    struct settings settings = load();
    char *text = settings_database(&settings);
    assert_string_equal(text, "host='db.example' port='5432' dbname='postgres' user='postgres' "
                              "password='it\\'s a \\\\ secret'");
    free(text);
    setenv("DATABASE_URL", "postgres://u:p@h/db", 1);
    settings = load();
    text = settings_database(&settings);
    assert_string_equal(text, "postgres://u:p@h/db");
    free(text);
    setenv("DATABASE_URL", "mysql//u:p4ssw0rd@h/db", 1);
    expect_refusal("DATABASE_URL (its value is secret): expected "
                   "postgresql://user:password@host:port/name");
}

static void what_differs_is_described_without_secrets(void **state)
{
    (void)state;
    setenv("PORT", "9000", 1);
    setenv("HTTP_THREADS", "2", 1);
    setenv("CORS_ORIGINS", "", 1);
    setenv("DB_PASSWORD", "hidden", 1);
    setenv("KAFKA_CLIENT_ID", "two words", 1);
    setenv("RATE_LIMIT_RPS", "2.50", 1);
    struct settings settings = load();
    char *text = settings_describe(&settings);
    assert_string_equal(text, "PORT=9000 CORS_ORIGINS=\"\" DB_PASSWORD=*** "
                              "KAFKA_CLIENT_ID=\"two words\" RATE_LIMIT_RPS=2.5");
    free(text);
}

static char *help(bool markdown)
{
    static char text[32768];
    FILE *file = fmemopen(text, sizeof text, "w");
    assert_non_null(file);
    settings_print_help(file, markdown);
    fclose(file);
    return text;
}

static void help_names_every_setting_on_one_line(void **state)
{
    (void)state;
    char line[128];
    for (size_t i = 0; i < settings_table_size; i++) {
        const struct setting *setting = &settings_table[i];
        bool group = setting->kind == SETTING_GROUP;
        snprintf(line, sizeof line, group ? "\n%s\n" : "\n  %s ", setting->name);
        assert_non_null(strstr(help(false), line));
        snprintf(line, sizeof line, group ? "### %s\n" : "\n| `%s` | ", setting->name);
        assert_non_null(strstr(help(true), line));
    }
    assert_non_null(strstr(help(false), "logs it [8000]\n"));
    assert_non_null(strstr(help(true), "| `PORT` | `8000` | 0 to 65535 | "));
    assert_non_null(strstr(help(true), "| `DB_PASSWORD` |  | text, secret | password |\n"));
}

int main(void)
{
#define spec(name) cmocka_unit_test_setup(name, forget_environment)
    const struct CMUnitTest tests[] = {
        spec(none_is_required),
        spec(every_default_passes_its_own_check),
        spec(an_empty_variable_counts_as_unset),
        spec(the_group_has_two_names_and_the_first_wins),
        spec(a_wrong_number_is_named_with_its_range),
        spec(a_wrong_choice_is_named_with_the_right_ones),
        spec(an_admin_listener_that_others_reach_needs_a_token),
        spec(half_a_jwt_configuration_is_refused),
        spec(somebody_must_work),
        spec(the_database_is_a_url_or_made_of_parts),
        spec(what_differs_is_described_without_secrets),
        spec(help_names_every_setting_on_one_line),
    };
    return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
