/* Any bytes at all: the reader and jansson must agree on whether they are JSON, on the shape that
 * fits and on every field's value. */
#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "message/json.h"
#include "message/reader.h"
#include "support/market_data.h"

/* A field of each type, all optional, with paths that share their beginnings. */
static const struct field_def mixed_fields[] = {
    {"t", VALUE_TEXT, true},    {"i", VALUE_INT8, true}, {"f", VALUE_FLOAT8, true},
    {"n", VALUE_NUMERIC, true}, {"b", VALUE_BOOL, true}, {"m", VALUE_TIME, true},
    {"j", VALUE_JSON, true},    {"k", VALUE_JSON, true},
};
#define N_MIXED (sizeof mixed_fields / sizeof mixed_fields[0])

static const struct shape_def mixed_shape = {(struct field_paths[N_MIXED]){
    {(const char *[]){"t", "a.t"}, 2},
    {(const char *[]){"a.i", "i"}, 2},
    {(const char *[]){"f", "a.a.f"}, 2},
    {(const char *[]){"n"}, 1},
    {(const char *[]){"b", "t"}, 2},
    {(const char *[]){"m"}, 1},
    {(const char *[]){"a"}, 1},
    {(const char *[]){"a.a"}, 1},
}};

struct subject {
    struct reader_def def;
    struct reader_plan *plan;
};

static struct reader *reader;
static struct subject subjects[2];

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition))                                                                          \
            die("not so: %s", #condition);                                                         \
    } while (0)

static json_t *node_at(json_t *root, const char *path)
{
    json_t *node = root;
    while (node && *path) {
        size_t size = strcspn(path, ".");
        node = json_object_getn(node, path, size);
        path += size + (path[size] == '.');
    }
    return json_is_null(node) ? NULL : node;
}

static json_t *first_node(json_t *root, const struct field_paths *paths)
{
    json_t *node = NULL;
    for (size_t i = 0; i < paths->n_paths && !node; i++)
        node = node_at(root, paths->paths[i]);
    return node;
}

static size_t expected_shape(const struct reader_def *def, json_t *root)
{
    for (size_t shape = 0; shape < def->n_shapes; shape++) {
        size_t i = 0;
        while (i < def->n_fields &&
               (def->fields[i].optional || first_node(root, &def->shapes[shape].fields[i])))
            i++;
        if (i == def->n_fields)
            return shape;
    }
    return def->n_shapes;
}

static unsigned depth_of(const json_t *node)
{
    unsigned deepest = 0;
    const char *key;
    json_t *child;
    size_t i;
    json_object_foreach ((json_t *)node, key, child) {
        unsigned depth = depth_of(child);
        deepest = depth > deepest ? depth : deepest;
    }
    json_array_foreach (node, i, child) {
        unsigned depth = depth_of(child);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + (json_is_object(node) || json_is_array(node));
}

static struct bytes string_of(const json_t *node)
{
    return bytes_of(json_string_value(node), json_string_length(node));
}

static void expect_whole(const struct value *value, const json_t *node)
{
    int64_t number = 0;
    bool good = json_is_integer(node) || value_parse_int8(string_of(node), &number);
    REQUIRE(value->is_null == !good);
    if (json_is_integer(node))
        number = json_integer_value(node);
    REQUIRE(!good || value->int8 == number);
}

static void expect_float8(const struct value *value, const json_t *node)
{
    double number = json_number_value(node);
    bool good = json_is_number(node) || value_parse_float8(string_of(node), &number);
    REQUIRE(value->is_null == !good);
    if (!good)
        return;
    REQUIRE(value->float8 == number && isfinite(number));
    REQUIRE(value_is_numeric(value->source));
}

static void expect_numeric(const struct value *value, const json_t *node)
{
    bool good = json_is_number(node) || value_is_numeric(string_of(node));
    REQUIRE(value->is_null == !good);
    double number;
    if (json_is_number(node))
        REQUIRE(value_parse_float8(value->text, &number) && number == json_number_value(node));
    else
        REQUIRE(!good || bytes_equal(value->text, string_of(node)));
}

static void expect_text(const struct value *value, const json_t *node)
{
    bool good = json_is_string(node) && !memchr(string_of(node).data, 0, string_of(node).size);
    REQUIRE(value->is_null == !good);
    REQUIRE(!good || bytes_equal(value->text, string_of(node)));
}

static void expect_bool(const struct value *value, const json_t *node)
{
    REQUIRE(value->is_null == !json_is_boolean(node));
    REQUIRE(value->is_null || value->boolean == json_is_true(node));
}

static void expect_json(const struct value *value, const json_t *node)
{
    json_t *again =
        json_loadb(value->text.data, value->text.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    REQUIRE(again && json_equal(again, (json_t *)node));
    json_decref(again);
}

static void expect_value(const struct value *value, const json_t *node)
{
    switch (value->type) {
    case VALUE_TEXT:
        expect_text(value, node);
        break;
    case VALUE_INT8:
    case VALUE_TIME:
        expect_whole(value, node);
        break;
    case VALUE_FLOAT8:
        expect_float8(value, node);
        break;
    case VALUE_NUMERIC:
        expect_numeric(value, node);
        break;
    case VALUE_BOOL:
        expect_bool(value, node);
        break;
    case VALUE_JSON:
        expect_json(value, node);
        break;
    }
}

static void expect_record(const struct reader_def *def, const struct record *record, json_t *root,
                          enum read_result result)
{
    bool all_good = true;
    REQUIRE(record->n_values == def->n_fields);
    for (size_t i = 0; i < def->n_fields; i++) {
        const struct value *value = &record->values[i];
        json_t *node = first_node(root, &def->shapes[record->shape].fields[i]);
        REQUIRE(value->type == def->fields[i].type);
        if (node)
            expect_value(value, node);
        REQUIRE(node || value->is_null);
        all_good = all_good && !(node && value->is_null);
    }
    REQUIRE((result == READ_OK) == all_good);
}

/* jansson stops at numbers beyond its types and at NUL in a key, all of which is JSON. */
static bool can_judge(const json_error_t *error)
{
    return json_error_code(error) != json_error_numeric_overflow &&
           json_error_code(error) != json_error_null_byte_in_key &&
           json_error_code(error) != json_error_stack_overflow;
}

static void check(const struct subject *subject, struct bytes text, json_t *root, bool judged)
{
    struct record record;
    struct error err = {.text = ""};
    enum read_result result = reader_read(reader, subject->plan, text, &record, &err);
    REQUIRE((result == READ_OK) == (err.text[0] == '\0'));
    if (!judged)
        return;
    if (result == READ_NOT_JSON) {
        REQUIRE(!root || depth_of(root) > JSON_MAX_DEPTH);
        return;
    }
    REQUIRE(root && depth_of(root) <= JSON_MAX_DEPTH);
    size_t shape = expected_shape(&subject->def, root);
    REQUIRE((result == READ_NO_SHAPE) == (shape == subject->def.n_shapes));
    if (result == READ_NO_SHAPE)
        return;
    REQUIRE(record.shape == shape);
    expect_record(&subject->def, &record, root, result);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    struct error err;
    reader = reader_new();
    subjects[0].def = market_data_def();
    subjects[1].def = (struct reader_def){mixed_fields, N_MIXED, &mixed_shape, 1};
    for (int i = 0; i < 2; i++) {
        subjects[i].plan = reader_plan_new(&subjects[i].def, &err);
        if (!subjects[i].plan)
            die("%s", err.text);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes text = bytes_of((const char *)data, size);
    json_error_t error = {0};
    json_t *root = NULL;
    bool judged = true;
    /* No JSON holds a NUL byte; jansson takes one for the end of the text. */
    if (!memchr(data, '\0', size)) {
        root = json_loadb(text.data, text.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        judged = root || can_judge(&error);
    }
    for (int i = 0; i < 2; i++)
        check(&subjects[i], text, root, judged);
    json_decref(root);
    return 0;
}
