/* base/log: what stands on stderr. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/log.h"

/* Everything that `write_line` puts on stderr. */
static char *capture(void (*write_line)(void))
{
    static char text[65536];
    FILE *file = tmpfile();
    assert_non_null(file);
    int saved = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    write_line();
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static void write_assignment(void)
{
    log_info("ingest", "partition %s/%d assigned", "market_data", 3);
}

static void write_forgery(void)
{
    log_warn("http", "path /a\n2026 error \"x\" \x1b[31m \xc2\x9b \xff \xe2\x82\xac");
}

static void write_long(void)
{
    char text[10000];
    memset(text, 1, sizeof text);
    text[sizeof text - 1] = '\0';
    log_error("app", "%s", text);
}

static void write_debug(void)
{
    log_debug("app", "not shown");
}

static void a_text_line_has_time_level_component_and_message(void **state)
{
    (void)state;
    log_setup(LOG_INFO, false);
    char *line = capture(write_assignment);
    assert_string_equal(line + 24, " info  [ingest] partition market_data/3 assigned\n");
    assert_int_equal(line[10], 'T');
    assert_int_equal(line[23], 'Z');
}

static void text_from_outside_cannot_forge_a_line(void **state)
{
    (void)state;
    log_setup(LOG_INFO, false);
    char *line = capture(write_forgery);
    assert_string_equal(line + 24, " warn  [http] path /a\\n2026 error \"x\" \\x1b[31m "
                                   "\\xc2\\x9b \\xff \xe2\x82\xac\n");
}

static void expect_json_message(char *line, const char *expected)
{
    json_error_t error;
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    json_t *object = json_loads(line, 0, &error);
    assert_non_null(object);
    const char *message = json_string_value(json_object_get(object, "message"));
    if (expected)
        assert_string_equal(message, expected);
    else
        assert_int_equal(strlen(message), 4095);
    json_decref(object);
}

static void a_json_line_is_json_whatever_it_says(void **state)
{
    (void)state;
    log_setup(LOG_INFO, true);
    expect_json_message(capture(write_assignment), "partition market_data/3 assigned");
    expect_json_message(capture(write_forgery), "path /a\n2026 error \"x\" \x1b[31m \xc2\x9b "
                                                "\xef\xbf\xbd \xe2\x82\xac");
    expect_json_message(capture(write_long), NULL);
}

static void lines_below_the_level_are_not_written(void **state)
{
    (void)state;
    log_setup(LOG_INFO, false);
    assert_string_equal(capture(write_debug), "");
    assert_false(log_enabled(LOG_DEBUG));
    log_setup(LOG_DEBUG, false);
    assert_non_null(strstr(capture(write_debug), "debug [app] not shown"));
}

static void a_limited_line_passes_once_and_counts_the_rest(void **state)
{
    (void)state;
    struct log_limit limit = {0};
    uint64_t held_back = 99;
    assert_true(log_limit_pass(&limit, 60000, &held_back));
    assert_int_equal(held_back, 0);
    assert_false(log_limit_pass(&limit, 60000, &held_back));
    assert_false(log_limit_pass(&limit, 60000, &held_back));
    limit.next_us = 0;
    assert_true(log_limit_pass(&limit, 60000, &held_back));
    assert_int_equal(held_back, 2);
}

static struct log_limit limit_of_line;

static void write_limited(void)
{
    log_limited(&limit_of_line, 60000, LOG_WARN, "http", "no room for %s", "more");
}

static void a_limited_line_says_how_many_were_held_back_where_any_were(void **state)
{
    (void)state;
    log_setup(LOG_INFO, false);
    assert_string_equal(capture(write_limited) + 24, " warn  [http] no room for more\n");
    assert_string_equal(capture(write_limited), "");
    assert_string_equal(capture(write_limited), "");
    limit_of_line.next_us = 0;
    assert_string_equal(capture(write_limited) + 24,
                        " warn  [http] no room for more (2 more like it)\n");
    limit_of_line.next_us = 0;
    assert_string_equal(capture(write_limited) + 24, " warn  [http] no room for more\n");
}

static void write_long_limited(void)
{
    char text[10000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    log_limited(&limit_of_line, 60000, LOG_WARN, "http", "%s", text);
}

static void a_limited_line_that_is_cut_says_it_too(void **state)
{
    (void)state;
    limit_of_line = (struct log_limit){.held_back = 3};
    char *line = capture(write_long_limited);
    assert_non_null(strstr(line, "xxx... (3 more like it)\n"));
    assert_int_equal(strlen(line), strlen("2026-11-25T20:00:00.000Z warn  [http] \n") + 4095);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_line_has_time_level_component_and_message),
        cmocka_unit_test(text_from_outside_cannot_forge_a_line),
        cmocka_unit_test(a_json_line_is_json_whatever_it_says),
        cmocka_unit_test(lines_below_the_level_are_not_written),
        cmocka_unit_test(a_limited_line_passes_once_and_counts_the_rest),
        cmocka_unit_test(a_limited_line_says_how_many_were_held_back_where_any_were),
        cmocka_unit_test(a_limited_line_that_is_cut_says_it_too),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
