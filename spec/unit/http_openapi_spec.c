/* The description of the API; that it is true is spec/integration/openapi_spec.lua's to say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/memory.h"
#include "http/openapi.h"

static const char *things[] = {"/v1/things/:name", "/things/:name/of/:owner"};
static struct param_def params[] = {
    {.name = "limit", .is_required = true, .description = "\"so\" many", .schema = "{}"},
    {.name = "name", .schema = "{\"minLength\":2}"},
};
static struct response_def responses[] = {
    {.status = 200, .description = "Things", .schema = "{\"type\":\"object\"}"},
    {.status = 404},
};
static struct endpoint_def endpoints[] = {
    {.method = "GET",
     .paths = things,
     .n_paths = 2,
     .summary = "Things",
     .params = params,
     .n_params = 2,
     .responses = responses,
     .n_responses = 2},
    {.method = "POST", .paths = things, .n_paths = 1},
    {.method = "GET", .paths = things, .n_paths = 1, .summary = "never reached"},
};
static const struct rules_def rules = {.endpoints = endpoints, .n_endpoints = 3};

static json_t *describe(const struct rules_def *def, struct openapi_options options)
{
    struct buffer text = {0};
    json_error_t trouble;
    openapi_write(def, &options, &text);
    json_t *json = json_loadb(text.data, text.size, JSON_REJECT_DUPLICATES, &trouble);
    if (!json)
        fail_msg("%s at %d: %s", trouble.text, trouble.position, text.data);
    buffer_free(&text);
    return json;
}

static json_t *operation(json_t *document, const char *path, const char *method)
{
    return json_object_get(json_object_get(json_object_get(document, "paths"), path), method);
}

static const char *text_of(json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static bool has_response(json_t *get, const char *status)
{
    return json_object_get(json_object_get(get, "responses"), status) != NULL;
}

static void describes_the_built_in_paths_without_rules(void **state)
{
    (void)state;
    json_t *json = describe(NULL, (struct openapi_options){0});
    assert_string_equal(text_of(json, "openapi"), "3.1.0");
    assert_int_equal(json_object_size(json_object_get(json, "paths")), 4);
    assert_non_null(operation(json, "/readyz", "get"));
    json_decref(json);
}

static void says_what_stands_in_the_path_and_what_in_the_query(void **state)
{
    (void)state;
    json_t *json = describe(&rules, (struct openapi_options){0});
    json_t *list = json_object_get(operation(json, "/v1/things/{name}", "get"), "parameters");
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(text_of(json_array_get(list, 0), "in"), "query");
    assert_string_equal(text_of(json_array_get(list, 0), "description"), "\"so\" many");
    assert_true(json_is_true(json_object_get(json_array_get(list, 0), "required")));
    assert_string_equal(text_of(json_array_get(list, 1), "in"), "path");
    assert_true(json_is_true(json_object_get(json_array_get(list, 1), "required")));
    list = json_object_get(operation(json, "/things/{name}/of/{owner}", "get"), "parameters");
    assert_int_equal(json_array_size(list), 3);
    assert_string_equal(text_of(json_array_get(list, 2), "name"), "owner");
    assert_string_equal(text_of(json_array_get(list, 2), "in"), "path");
    json_decref(json);
}

static void gathers_the_methods_of_a_path_and_the_first_of_each_counts(void **state)
{
    (void)state;
    json_t *json = describe(&rules, (struct openapi_options){0});
    json_t *get = operation(json, "/v1/things/{name}", "get");
    assert_string_equal(text_of(get, "summary"), "Things");
    assert_string_equal(text_of(get, "operationId"), "get_v1_things_name");
    json_t *post = operation(json, "/v1/things/{name}", "post");
    assert_string_equal(text_of(post, "operationId"), "post_v1_things_name");
    assert_non_null(json_object_get(post, "requestBody"));
    assert_null(operation(json, "/things/{name}/of/{owner}", "post"));
    json_decref(json);
}

static void names_only_answers_that_may_come(void **state)
{
    (void)state;
    json_t *json = describe(&rules, (struct openapi_options){0});
    json_t *get = operation(json, "/v1/things/{name}", "get");
    json_t *post = operation(json, "/v1/things/{name}", "post");
    assert_true(has_response(get, "404") && has_response(get, "503") && has_response(get, "304"));
    assert_true(has_response(post, "200") && has_response(post, "400"));
    assert_false(has_response(post, "404") || has_response(post, "304"));
    assert_false(has_response(get, "401") || has_response(get, "429"));
    assert_null(json_object_get(json, "security"));
    json_decref(json);
    json = describe(&rules, (struct openapi_options){.needs_token = true, .is_limited = true});
    get = operation(json, "/v1/things/{name}", "get");
    assert_true(has_response(get, "401") && has_response(get, "429"));
    assert_int_equal(json_array_size(json_object_get(json, "security")), 1);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest specs[] = {
        cmocka_unit_test(describes_the_built_in_paths_without_rules),
        cmocka_unit_test(says_what_stands_in_the_path_and_what_in_the_query),
        cmocka_unit_test(gathers_the_methods_of_a_path_and_the_first_of_each_counts),
        cmocka_unit_test(names_only_answers_that_may_come),
    };
    return cmocka_run_group_tests(specs, NULL, NULL);
}
