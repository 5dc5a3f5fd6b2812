#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/route.h"

static struct route_table *table;

static int set_up(void **state)
{
    (void)state;
    table = route_table_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    route_table_free(table);
    return 0;
}

static void add(const char *method, const char *pattern)
{
    struct error err;
    assert_true(route_table_add(table, method, pattern, NULL, &err));
}

static size_t split(const char *path, struct bytes *segments)
{
    size_t n = 0;
    while (*path == '/' && path[1]) {
        size_t size = strcspn(++path, "/");
        segments[n++] = bytes_of(path, size);
        path += size;
    }
    return n;
}

/* The pattern that was found; "404" or "405". */
static const char *find(const char *method, const char *path)
{
    struct bytes segments[ROUTE_SEGMENTS_MAX];
    const struct route *route;
    size_t n = split(path, segments);
    switch (route_find(table, method, segments, n, &route)) {
    case ROUTE_FOUND:
        return route->pattern;
    case ROUTE_NO_METHOD:
        return "405";
    default:
        return "404";
    }
}

static void a_literal_goes_before_a_parameter(void **state)
{
    (void)state;
    static const char *const PATTERNS[] = {"/a/:x",  "/:y/b/c", "/a", "/a/b",
                                           "/:y/:z", "/a/:x/c", "/",  "/a/b/:z"};
    size_t n = sizeof PATTERNS / sizeof PATTERNS[0];
    for (size_t i = 0; i < n; i++)
        add("GET", PATTERNS[i]);
    assert_string_equal(find("GET", "/"), "/");
    assert_string_equal(find("GET", "/a"), "/a");
    assert_string_equal(find("GET", "/a/b"), "/a/b");
    assert_string_equal(find("GET", "/a/c"), "/a/:x");
    assert_string_equal(find("GET", "/b/c"), "/:y/:z");
    assert_string_equal(find("GET", "/a/b/c"), "/a/b/:z");
    assert_string_equal(find("GET", "/a/x/c"), "/a/:x/c");
    assert_string_equal(find("GET", "/x/b/c"), "/:y/b/c");
    assert_string_equal(find("GET", "/x/y/c"), "404");
    assert_string_equal(find("GET", "/a/"), "/a");
    assert_string_equal(find("GET", "/a//"), "404");
}

static void the_order_of_adding_does_not_matter(void **state)
{
    (void)state;
    add("GET", "/l/:p");
    add("GET", "/l");
    add("GET", "/l/l");
    assert_string_equal(find("GET", "/l/l"), "/l/l");
    assert_string_equal(find("GET", "/l/x"), "/l/:p");
}

static void methods_of_one_path_may_come_from_several_patterns(void **state)
{
    (void)state;
    struct bytes segments[ROUTE_SEGMENTS_MAX];
    char allow[64];
    add("GET", "/a/:x");
    add("POST", "/a/b");
    assert_string_equal(find("POST", "/a/b"), "/a/b");
    assert_string_equal(find("GET", "/a/b"), "/a/:x");
    assert_string_equal(find("HEAD", "/a/b"), "/a/:x");
    assert_string_equal(find("POST", "/a/c"), "405");
    assert_string_equal(find("OPTIONS", "/a/c"), "405");
    assert_string_equal(find("PUT", "/b"), "404");
    route_allow(table, segments, split("/a/b", segments), allow, sizeof allow);
    assert_string_equal(allow, "GET, HEAD, POST, OPTIONS");
}

static void all_methods_fit_into_the_list(void **state)
{
    (void)state;
    static const char *const METHODS[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};
    struct bytes segments[ROUTE_SEGMENTS_MAX];
    char allow[64];
    for (size_t i = 0; i < 6; i++)
        add(METHODS[i], "/a");
    route_allow(table, segments, split("/a", segments), allow, sizeof allow);
    assert_string_equal(allow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
}

static void refuses_patterns_that_cannot_be(void **state)
{
    (void)state;
    struct error err;
    assert_false(route_table_add(table, "GET", "a", NULL, &err));
    assert_string_equal(err.text, "the path \"a\" does not begin with /");
    assert_false(route_table_add(table, "GET", "/:x/:x", NULL, &err));
    assert_string_equal(err.text, "the path \"/:x/:x\" names a parameter twice");
    assert_false(route_table_add(table, "GET",
                                 "/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0"
                                 "/1/2/3",
                                 NULL, &err));
    assert_string_equal(find("GET", "/a"), "404");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_literal_goes_before_a_parameter),
        TEST(the_order_of_adding_does_not_matter),
        TEST(methods_of_one_path_may_come_from_several_patterns),
        TEST(all_methods_fit_into_the_list),
        TEST(refuses_patterns_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
