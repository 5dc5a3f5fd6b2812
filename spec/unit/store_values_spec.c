/* What store does without a server: reads connection strings, classes SQLSTATEs, encodes arrays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "store/arrays.h"
#include "store/connection.h"
#include "store/conninfo.h"
#include "store/libpq_error.h"

/* ---- connection strings ---- */

static const char *param(const struct connect_params *params, const char *keyword)
{
    for (size_t i = 0; params->keywords[i]; i++)
        if (strcmp(params->keywords[i], keyword) == 0)
            return params->values[i];
    return NULL;
}

/* The lists that libpq would get, each name standing for the addresses 10.0.0.1 and 10.0.0.2. */
static void expect_lists(const char *text, size_t first, const char *hosts, const char *addresses,
                         const char *ports)
{
    static char *both[] = {"10.0.0.1", "10.0.0.2"};
    struct resolved_host answers[4] = {0};
    struct connect_params params;
    struct error err;
    size_t n;
    struct conninfo *info = conninfo_parse(text, &err);
    assert_non_null(info);
    const char *const *names = conninfo_names(info, &n);
    for (size_t i = 0; i < n; i++)
        if (names[i])
            answers[i] = (struct resolved_host){.addresses = both, .n_addresses = 2};
    assert_true(conninfo_build(info, answers, first, "spec", &params, &err));
    assert_string_equal(param(&params, "host"), hosts);
    if (addresses)
        assert_string_equal(param(&params, "hostaddr"), addresses);
    else
        assert_null(param(&params, "hostaddr"));
    assert_string_equal(param(&params, "port"), ports);
    assert_string_equal(param(&params, "application_name"), "spec");
    connect_params_free(&params);
    conninfo_free(info);
}

static void gives_every_address_of_a_name_to_libpq_and_keeps_the_name(void **state)
{
    (void)state;
    expect_lists("postgresql://user@db.example/name", 0, "db.example,db.example",
                 "10.0.0.1,10.0.0.2", "5432,5432");
    expect_lists("host=a,/run/pg,b port=1,2,3", 0, "a,a,/run/pg,b,b",
                 "10.0.0.1,10.0.0.2,,10.0.0.1,10.0.0.2", "1,1,2,3,3");
    expect_lists("postgresql://a:1,192.0.2.1:2/name", 0, "a,a,192.0.2.1", "10.0.0.1,10.0.0.2,",
                 "1,1,2");
}

static void begins_further_on_in_the_list_after_a_host_that_kept_silent(void **state)
{
    (void)state;
    expect_lists("host=a,192.0.2.1 port=1,2", 1, "a,192.0.2.1,a", "10.0.0.2,,10.0.0.1", "1,2,1");
    expect_lists("host=a,192.0.2.1 port=1,2", 5, "192.0.2.1,a,a", ",10.0.0.1,10.0.0.2", "2,1,1");
}

static void looks_up_no_sockets_and_no_addresses(void **state)
{
    (void)state;
    static const char *const texts[] = {"host=/run/postgresql", "host=::1", "host=127.0.0.1",
                                        "host=db.example hostaddr=192.0.2.1",
                                        "postgresql:///name?host=/run/pg&port=7"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct error err;
        struct conninfo *info = conninfo_parse(texts[i], &err);
        assert_non_null(info);
        assert_false(conninfo_needs_lookup(info));
        conninfo_free(info);
    }
    expect_lists("host=/run/pg", 0, "/run/pg", NULL, "5432");
    expect_lists("host=db.example hostaddr=192.0.2.1", 0, "db.example", "192.0.2.1", "5432");
}

static void takes_hosts_from_the_environment_where_the_string_names_none(void **state)
{
    (void)state;
    setenv("PGHOST", "from.environment", 1);
    setenv("PGPORT", "77", 1);
    expect_lists("dbname=x", 0, "from.environment,from.environment", "10.0.0.1,10.0.0.2", "77,77");
    unsetenv("PGHOST");
    unsetenv("PGPORT");
}

static void says_why_when_no_name_has_an_address(void **state)
{
    (void)state;
    struct error err;
    struct connect_params params;
    struct conninfo *info = conninfo_parse("host=a,b", &err);
    struct resolved_host answers[2] = {0};
    error_set(&answers[0].err, "could not resolve host \"a\": no");
    assert_false(conninfo_build(info, answers, 0, "spec", &params, &err));
    assert_string_equal(err.text, "could not resolve host \"a\": no");
    conninfo_free(info);
}

static void puts_libpqs_lines_into_one(void **state)
{
    (void)state;
    struct error err;
    libpq_error(&err, "server closed\n\tThis probably\n\tmeans it.\nanother host: no\n");
    assert_string_equal(err.text, "server closed This probably means it.; another host: no");
}

/* ---- SQLSTATEs ---- */

static void classes_sqlstates_by_what_they_ask_for(void **state)
{
    (void)state;
    static const struct {
        const char *sqlstate;
        const char *constraint;
        enum sqlstate_class class;
    } cases[] = {
        {"08006", "", SQLSTATE_RETRY},     {"25006", "", SQLSTATE_RETRY},
        {"40001", "", SQLSTATE_RETRY},     {"40P01", "", SQLSTATE_RETRY},
        {"53100", "", SQLSTATE_RETRY},     {"53300", "", SQLSTATE_RETRY},
        {"53400", "", SQLSTATE_HALVE},     {"55P03", "", SQLSTATE_RETRY},
        {"57P01", "", SQLSTATE_RETRY},     {"57014", "", SQLSTATE_HALVE},
        {"58030", "", SQLSTATE_RETRY},     {"23514", "", SQLSTATE_RETRY},
        {"23514", "c", SQLSTATE_DATA},     {"0A000", "", SQLSTATE_REPREPARE},
        {"26000", "", SQLSTATE_REPREPARE}, {"CS001", "", SQLSTATE_SWAP},
        {"22001", "", SQLSTATE_DATA},      {"22P02", "", SQLSTATE_DATA},
        {"23505", "k", SQLSTATE_DATA},     {"42P01", "", SQLSTATE_DATA},
        {"42703", "", SQLSTATE_DATA},      {"25P02", "", SQLSTATE_DATA},
        {"XX000", "", SQLSTATE_DATA},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (sqlstate_classify(cases[i].sqlstate, cases[i].constraint) != cases[i].class)
            fail_msg("%s \"%s\"", cases[i].sqlstate, cases[i].constraint);
}

/* ---- arrays ---- */

static void expect_element(enum value_type wire, const struct value *value, const char *bytes,
                           size_t size)
{
    struct buffer array = {0};
    array_add_value(&array, wire, value);
    assert_int_equal(array.size, size);
    assert_memory_equal(array.data, bytes, size);
    buffer_free(&array);
}

static void encodes_arrays_as_postgresql_reads_them(void **state)
{
    (void)state;
    struct buffer array = {0};
    array_begin(&array, PG_INT8, 2);
    array_add_int8(&array, -2);
    array_add_null(&array);
    static const char expected[] = "\0\0\0\1\0\0\0\0\0\0\0\24\0\0\0\2\0\0\0\1"
                                   "\0\0\0\10\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff\xff";
    assert_int_equal(array.size, sizeof expected - 1);
    assert_memory_equal(array.data, expected, array.size);
    buffer_free(&array);
    array_begin(&array, PG_TEXT, 0);
    assert_int_equal(array.size, 12);
    buffer_free(&array);
}

static void counts_times_from_the_year_2000(void **state)
{
    (void)state;
    struct value time = {.type = VALUE_TIME, .int8 = INT64_C(946684800001)};
    expect_element(VALUE_TIME, &time, "\0\0\0\10\0\0\0\0\0\0\3\xe8", 12);
    time.int8 = INT64_MAX; /* not infinity: out of range */
    expect_element(VALUE_TIME, &time, "\0\0\0\10\x7f\xff\xff\xff\xff\xff\xff\xfe", 12);
    time.int8 = INT64_MIN;
    expect_element(VALUE_TIME, &time, "\0\0\0\10\x80\0\0\0\0\0\0\1", 12);
}

static void sends_the_decimals_that_were_read_where_decimals_are_kept(void **state)
{
    (void)state;
    struct value price = {.type = VALUE_FLOAT8, .float8 = 0.1};
    expect_element(VALUE_NUMERIC, &price, "\0\0\0\0030.1", 7);
    price.source = bytes_of_string("0.100");
    expect_element(VALUE_NUMERIC, &price, "\0\0\0\0050.100", 9);
    expect_element(VALUE_FLOAT8, &price, "\0\0\0\10\x3f\xb9\x99\x99\x99\x99\x99\x9a", 12);
    struct value truth = {.type = VALUE_BOOL, .boolean = true};
    expect_element(VALUE_BOOL, &truth, "\0\0\0\1\1", 5);
    truth.is_null = true;
    expect_element(VALUE_BOOL, &truth, "\xff\xff\xff\xff", 4);
}

static void cleans_text_that_is_only_to_be_read(void **state)
{
    (void)state;
    struct buffer array = {0};
    array_add_cleaned(&array, bytes_of("a\0\xc3\xa4\xff", 5));
    static const char expected[] = "\0\0\0\11a\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd";
    assert_int_equal(array.size, sizeof expected - 1);
    assert_memory_equal(array.data, expected, array.size);
    buffer_free(&array);
}

int main(void)
{
    const struct CMUnitTest specs[] = {
        cmocka_unit_test(gives_every_address_of_a_name_to_libpq_and_keeps_the_name),
        cmocka_unit_test(begins_further_on_in_the_list_after_a_host_that_kept_silent),
        cmocka_unit_test(looks_up_no_sockets_and_no_addresses),
        cmocka_unit_test(takes_hosts_from_the_environment_where_the_string_names_none),
        cmocka_unit_test(says_why_when_no_name_has_an_address),
        cmocka_unit_test(puts_libpqs_lines_into_one),
        cmocka_unit_test(classes_sqlstates_by_what_they_ask_for),
        cmocka_unit_test(encodes_arrays_as_postgresql_reads_them),
        cmocka_unit_test(counts_times_from_the_year_2000),
        cmocka_unit_test(sends_the_decimals_that_were_read_where_decimals_are_kept),
        cmocka_unit_test(cleans_text_that_is_only_to_be_read),
    };
    return cmocka_run_group_tests(specs, NULL, NULL);
}
