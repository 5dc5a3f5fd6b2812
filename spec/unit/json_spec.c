/* message/json: which texts are JSON, by RFC 8259 and nothing besides. The lists are written out so
 * that a reader can check them one by one against the grammar. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"
#include "message/json.h"

/* A text that may hold NUL bytes. */
#define TEXT(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static bool walk(struct bytes text, struct json_fault *fault)
{
    static const struct json_place root = {.end = 1};
    struct json_found found;
    struct json_parser *parser = json_parser_new();
    assert_non_null(parser);
    char *copy = memory_alloc(text.size + JSON_PADDING);
    memcpy(copy, text.data, text.size);
    memset(copy + text.size, ']', JSON_PADDING); /* whatever was there before must not count */
    assert_true(json_parser_reserve(parser, text.size));
    bool good = json_walk(parser, copy, text.size, &root, &found, fault);
    if (good)
        assert_int_not_equal(found.kind, FOUND_NOTHING);
    free(copy);
    json_parser_free(parser);
    return good;
}

static void accept_all(const struct bytes *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct json_fault fault;
        if (!walk(texts[i], &fault))
            fail_msg("refused: %.*s: %s (byte %zu)", (int)texts[i].size, texts[i].data, fault.what,
                     fault.at);
    }
}

static void refuse_all(const struct bytes *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct json_fault fault = {0};
        if (walk(texts[i], &fault))
            fail_msg("accepted: %.*s", (int)texts[i].size, texts[i].data);
        assert_non_null(fault.what);
        assert_in_range(fault.at, 0, texts[i].size);
    }
}

static void any_value_may_be_the_whole_text(void **state)
{
    (void)state;
    static const struct bytes texts[] = {
        TEXT("null"), TEXT("true"),     TEXT("false"),      TEXT("0"),           TEXT("-12.5e3"),
        TEXT("\"\""), TEXT("\"text\""), TEXT("[]"),         TEXT("{}"),          TEXT(" \t\r\n1"),
        TEXT("1 \n"), TEXT(" [ ] "),    TEXT("\r\n{\t}\n"), TEXT(" \"a\"\t\n "), TEXT("null "),
    };
    accept_all(texts, COUNT(texts));
}

static void arrays_and_objects_are_accepted(void **state)
{
    (void)state;
    static const struct bytes texts[] = {
        TEXT("[1]"),
        TEXT("[1,2]"),
        TEXT("[ 1 , \"a\" , null , true , false , [ ] , { } ]"),
        TEXT("[[[]]]"),
        TEXT("[[],[]]"),
        TEXT("[\"a\"]"),
        TEXT("{\"a\":1}"),
        TEXT("{\"a\":1,\"b\":{\"c\":[{}]}}"),
        TEXT("{ \"a\" : 1 }"),
        TEXT("{\"\":0}"),
        TEXT("{\"a\":1,\"a\":2}"),
        TEXT("{\"\\u0061\":1}"),
        TEXT("{\"key with : , { } [ ]\":\"value with : , { } [ ]\"}"),
        TEXT("[-0,-0.0,1E5,1e+5,1e-5,0.5e0]"),
    };
    accept_all(texts, COUNT(texts));
}

static void numbers_of_any_size_are_accepted(void **state)
{
    (void)state;
    static const struct bytes texts[] = {
        TEXT("9223372036854775808"),
        TEXT("[123456789012345678901234567890123456789012345678901234567890]"),
        TEXT("{\"ignored\":-99999999999999999999}"),
        TEXT("[1e999]"),
        TEXT("[1e-999]"),
        TEXT("[0.000000000000000000000000000000000000000000000000000000000000000000000000000001]"),
        TEXT("[1E400]"),
        TEXT("-0"),
        TEXT("[20e1]"),
        TEXT("[0e+1]"),
    };
    accept_all(texts, COUNT(texts));
}

static void malformed_numbers_are_refused(void **state)
{
    (void)state;
    static const struct bytes texts[] = {
        TEXT("+1"),
        TEXT("-"),
        TEXT("--1"),
        TEXT("01"),
        TEXT("-01"),
        TEXT("00"),
        TEXT("1."),
        TEXT(".5"),
        TEXT("-.5"),
        TEXT("1.e5"),
        TEXT("1e"),
        TEXT("1e+"),
        TEXT("1e5.5"),
        TEXT("1e5e5"),
        TEXT("1.2.3"),
        TEXT("0x10"),
        TEXT("0b1"),
        TEXT("1_000"),
        TEXT("1,000"),
        TEXT("1a"),
        TEXT("NaN"),
        TEXT("nan"),
        TEXT("-NaN"),
        TEXT("Infinity"),
        TEXT("-Infinity"),
        TEXT("inf"),
        TEXT("1/2"),
        TEXT("1+2"),
        TEXT("1-2"),
        TEXT("1e1e"),
        TEXT("[01]"),
        TEXT("[1.]"),
        TEXT("[-]"),
        TEXT("[1e]"),
        TEXT("[- 1]"),
        TEXT("[1 2]"),
        TEXT("[1\"]"),
        TEXT("[1\\]"),
        TEXT("1\0"),
        TEXT("[1\0]"),
        TEXT("[1.0f]"),
        TEXT("[0x1]"),
        TEXT("[\xef\xbc\x91]"),
        TEXT("[1'000]"),
        TEXT("[.1e1]"),
    };
    refuse_all(texts, COUNT(texts));
}

static void values_that_nobody_looks_at_are_checked_too(void **state)
{
    (void)state;
    static const struct bytes texts[] = {
        TEXT("{\"a\":{\"b\":[01]}}"),      TEXT("{\"a\":{\"b\":[tru]}}"),
        TEXT("{\"a\":{\"b\":[\"\\x\"]}}"), TEXT("{\"a\":[[[{\"b\":+1}]]]}"),
        TEXT("{\"a\":\"\\ud800\"}"),       TEXT("{\"\\x\":1}"),
        TEXT("{\"a\":{\"\\ud800\":1}}"),
    };
    refuse_all(texts, COUNT(texts));
}

static void literals_are_exact(void **state)
{
    (void)state;
    static const struct bytes texts[] = {
        TEXT("tru"),     TEXT("truee"),      TEXT("True"),      TEXT("TRUE"),   TEXT("fals"),
        TEXT("falsey"),  TEXT("False"),      TEXT("nul"),       TEXT("nulll"),  TEXT("Null"),
        TEXT("n"),       TEXT("t"),          TEXT("f"),         TEXT("[nul]"),  TEXT("[true1]"),
        TEXT("[nu ll]"), TEXT("[t]"),        TEXT("undefined"), TEXT("'a'"),    TEXT("a"),
        TEXT("[a]"),     TEXT("{a:1}"),      TEXT("true\0"),    TEXT("null\0"), TEXT("nullnull"),
        TEXT("*"),       TEXT("[\xc3\xa9]"),
    };
    refuse_all(texts, COUNT(texts));
}

static void structure_is_exact(void **state)
{
    (void)state;
    static const struct bytes texts[] = {
        TEXT("["),
        TEXT("]"),
        TEXT("{"),
        TEXT("}"),
        TEXT(","),
        TEXT(":"),
        TEXT("[]]"),
        TEXT("[[]"),
        TEXT("{}}"),
        TEXT("{{}"),
        TEXT("[}"),
        TEXT("{]"),
        TEXT("[1}"),
        TEXT("{\"a\":1]"),
        TEXT("[,]"),
        TEXT("[,1]"),
        TEXT("[1,]"),
        TEXT("[1,,2]"),
        TEXT("[1"),
        TEXT("[1,"),
        TEXT("[1:2]"),
        TEXT("[\"a\":1]"),
        TEXT("[\"a\" \"b\"]"),
        TEXT("[\"a\"\"b\"]"),
        TEXT("[\"a\"1]"),
        TEXT("[1[]]"),
        TEXT("[[]1]"),
        TEXT("[[][]]"),
        TEXT("{,}"),
        TEXT("{\"a\"}"),
        TEXT("{\"a\":}"),
        TEXT("{\"a\":,}"),
        TEXT("{\"a\",1}"),
        TEXT("{\"a\" 1}"),
        TEXT("{\"a\"::1}"),
        TEXT("{:1}"),
        TEXT("{1:1}"),
        TEXT("{null:1}"),
        TEXT("{[]:1}"),
        TEXT("{{}:1}"),
        TEXT("{\"a\":1,}"),
        TEXT("{,\"a\":1}"),
        TEXT("{\"a\":1,,\"b\":2}"),
        TEXT("{\"a\":1 \"b\":2}"),
        TEXT("{\"a\":1;\"b\":2}"),
        TEXT("{\"a\":1:2}"),
        TEXT("{\"a\":1"),
        TEXT("{\"a\":"),
        TEXT("{\"a\""),
        TEXT("{\"a\":1,"),
        TEXT("{\"a\":[}"),
        TEXT("{\"a\":{]"),
        TEXT("{\"a\"b:1}"),
        TEXT("{'a':1}"),
        TEXT("[(1)]"),
        TEXT("[1]/**/"),
        TEXT("[1]//"),
        TEXT("/**/[1]"),
        TEXT("[1/**/]"),
        TEXT("#\n[1]"),
        TEXT("[[[[1,{\"a\":[[]"),
        TEXT("{\"a\":[1]"),
    };
    refuse_all(texts, COUNT(texts));
}

static void nothing_may_follow_the_value(void **state)
{
    (void)state;
    static const struct bytes texts[] = {
        TEXT("1 1"),        TEXT("1,"),      TEXT("{}{}"),      TEXT("{} 1"),   TEXT("[] ]"),
        TEXT("\"a\"\"b\""), TEXT("\"a\" x"), TEXT("null null"), TEXT("1\n2"),   TEXT("{}\0"),
        TEXT("[]\0[]"),     TEXT("{}#"),     TEXT("[1]x"),      TEXT("true,"),  TEXT("\"a\":1"),
        TEXT("{}\xc2\xa0"), TEXT("[]\f"),    TEXT("\"a\"1"),    TEXT("1\"a\""),
    };
    refuse_all(texts, COUNT(texts));
}

static void only_four_characters_are_white_space(void **state)
{
    (void)state;
    static const struct bytes texts[] = {
        TEXT("[\f]"),
        TEXT("[\v]"),
        TEXT("\f[]"),
        TEXT("[1\f]"),
        TEXT("[\xc2\xa0]"),
        TEXT("[\xe2\x80\x83]"),
        TEXT("[\xe2\x81\xa0]"),
        TEXT("[\b]"),
        TEXT("[\x1f]"),
        TEXT("\0"),
        TEXT("[\0]"),
        TEXT("\x0c{}"),
        TEXT("{\x1a\"a\":1}"),
        TEXT("{\"a\"\x1a"
             "1}"),
        TEXT("[1\x0c"
             "2]"),
        TEXT("[\x7f]"),
    };
    refuse_all(texts, COUNT(texts));
}

static void no_text_at_all_is_refused(void **state)
{
    (void)state;
    static const struct bytes texts[] = {TEXT(""), TEXT(" "), TEXT("\n\t\r ")};
    refuse_all(texts, COUNT(texts));
}

static void a_byte_order_mark_is_refused(void **state)
{
    (void)state;
    static const struct bytes texts[] = {
        TEXT("\xef\xbb\xbf"),    TEXT("\xef\xbb\xbf{}"), TEXT("\xef\xbb\xbf 1"),
        TEXT(" \xef\xbb\xbf{}"), TEXT("{}\xef\xbb\xbf"), TEXT("\xff\xfe{\0}\0"),
        TEXT("\xfe\xff\0{\0}"),  TEXT("\xef\xbb"),
    };
    refuse_all(texts, COUNT(texts));
}

static void strings_are_accepted(void **state)
{
    (void)state;
    static const struct bytes texts[] = {
        TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
        TEXT("\"\\u0000\\u001f\\u0020\\u007f\\u00e9\\u20ac\\uffff\""),
        TEXT("\"\\uABCD\\uabcd\\uAbCd\""),
        TEXT("\"\\ud83d\\ude00\""),
        TEXT("\"\\uD800\\uDC00\\uDBFF\\uDFFF\""),
        TEXT("\"\\ud7ff\\ue000\""),
        TEXT("\"\x7f\""),
        TEXT("\"/\""),
        TEXT("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""),
        TEXT("\"\xf4\x8f\xbf\xbf\""),
        TEXT("\"\xef\xbf\xbf\xef\xb7\x90\""),
        TEXT("\"\xe2\x80\xa8\xe2\x80\xa9\""),
        TEXT("\"\xef\xbb\xbf\""),
        TEXT("\"\\\\\""),
        TEXT("\"\\\\\\\"\""),
        TEXT("\"\\\\u0041\""),
        TEXT("[\"a\\\\\",\"b\"]"),
        TEXT("\"'\""),
    };
    accept_all(texts, COUNT(texts));
}

static void malformed_strings_are_refused(void **state)
{
    (void)state;
    static const struct bytes texts[] = {
        TEXT("\""),
        TEXT("\"a"),
        TEXT("\"\\\""),
        TEXT("\"\\"),
        TEXT("[\"a]"),
        TEXT("\"\\a\""),
        TEXT("\"\\x41\""),
        TEXT("\"\\'\""),
        TEXT("\"\\0\""),
        TEXT("\"\\U0041\""),
        TEXT("\"\\ \""),
        TEXT("\"\\\n\""),
        TEXT("\"\\v\""),
        TEXT("\"\\\xc3\xa9\""),
        TEXT("\"\\u\""),
        TEXT("\"\\u1\""),
        TEXT("\"\\u12\""),
        TEXT("\"\\u123\""),
        TEXT("\"\\u123\",\"4\""),
        TEXT("\"\\u123g\""),
        TEXT("\"\\u 123\""),
        TEXT("\"\\u+123\""),
        TEXT("\"\\u-123\""),
        TEXT("\"\\u12\\u0034\""),
        TEXT("\"\\u\xef\xbc\x91"
             "234\""),
        TEXT("[\"\\u12\"34]"),
    };
    refuse_all(texts, COUNT(texts));
}

static void lone_surrogates_are_refused(void **state)
{
    (void)state;
    static const struct bytes texts[] = {
        TEXT("\"\\ud800\""),        TEXT("\"\\udbff\""),        TEXT("\"\\udc00\""),
        TEXT("\"\\udfff\""),        TEXT("\"\\ud800x\""),       TEXT("\"\\ud800\\n\""),
        TEXT("\"\\ud800\\u0041\""), TEXT("\"\\ud800\\ud800\""), TEXT("\"\\ud800\\ue000\""),
        TEXT("\"\\udc00\\ud800\""), TEXT("\"\\udc00\\udc00\""), TEXT("\"\\ud800\\udc0\""),
        TEXT("\"\\ud800\\u\""),     TEXT("\"\\ud800\\\""),      TEXT("\"\\ud83d\\ude00\\ude00\""),
        TEXT("{\"\\udc00\":1}"),
    };
    refuse_all(texts, COUNT(texts));
}

static void control_characters_in_strings_are_refused(void **state)
{
    (void)state;
    for (int byte = 0; byte < 0x20; byte++) {
        char text[] = {'[', '"', 'a', (char)byte, '"', ']'};
        struct json_fault fault;
        assert_false(walk(bytes_of(text, sizeof text), &fault));
        assert_int_equal(fault.at, 3);
        char key[] = {'{', '"', (char)byte, '"', ':', '1', '}'};
        assert_false(walk(bytes_of(key, sizeof key), &fault));
        assert_int_equal(fault.at, 2);
    }
}

static void text_that_is_not_utf8_is_refused(void **state)
{
    (void)state;
    static const struct bytes inside[] = {
        TEXT("\x80"),
        TEXT("\xbf"),
        TEXT("\xc3"),
        TEXT("\xc3("),
        TEXT("\xc0\x80"),
        TEXT("\xc1\xbf"),
        TEXT("\xe0\x80\x80"),
        TEXT("\xe0\x9f\xbf"),
        TEXT("\xe2\x82"),
        TEXT("\xed\xa0\x80"),
        TEXT("\xed\xbf\xbf"),
        TEXT("\xf0\x80\x80\x80"),
        TEXT("\xf0\x8f\xbf\xbf"),
        TEXT("\xf4\x90\x80\x80"),
        TEXT("\xf5\x80\x80\x80"),
        TEXT("\xf0\x9f\x98"),
        TEXT("\xfe"),
        TEXT("\xff"),
        TEXT("\xc3\xc3\xa9"),
        TEXT("\xf8\x88\x80\x80\x80"),
    };
    for (size_t i = 0; i < COUNT(inside); i++) {
        char text[32] = "[\"ok\",\"";
        size_t size = 7;
        memcpy(text + size, inside[i].data, inside[i].size);
        size += inside[i].size;
        memcpy(text + size, "\"]", 2);
        size += 2;
        struct json_fault fault = {0};
        assert_false(walk(bytes_of(text, size), &fault));
        assert_string_equal(fault.what, "the text is not UTF-8");
        assert_int_equal(fault.at, 7);
    }
}

static struct bytes nested(size_t depth, const char *open, const char *inner, const char *close)
{
    size_t part = strlen(open);
    char *text = memory_alloc(depth * (part + 1) + strlen(inner));
    char *end = text;
    for (size_t i = 0; i < depth; i++, end += part)
        memcpy(end, open, part);
    memcpy(end, inner, strlen(inner));
    end += strlen(inner);
    memset(end, *close, depth);
    return bytes_of(text, (size_t)(end + depth - text));
}

static void depth_is_bounded(void **state)
{
    (void)state;
    struct json_fault fault;
    static const char *const open[] = {"[", "{\"a\":"};
    static const char *const close[] = {"]", "}"};
    for (size_t i = 0; i < 2; i++) {
        struct bytes deepest = nested(JSON_MAX_DEPTH, open[i], "1", close[i]);
        struct bytes deeper = nested(JSON_MAX_DEPTH + 1, open[i], "1", close[i]);
        struct bytes endless = nested(100000, open[i], "1", close[i]);
        assert_true(walk(deepest, &fault));
        assert_false(walk(deeper, &fault));
        assert_non_null(strstr(fault.what, "deeper than 64"));
        assert_int_equal(fault.at, JSON_MAX_DEPTH * strlen(open[i]));
        assert_false(walk(endless, &fault));
        free((char *)deepest.data);
        free((char *)deeper.data);
        free((char *)endless.data);
    }
}

/* White space of every length before each kind of trouble: the tokens fall on every place of the
 * parser's 64-byte blocks. */
static void verdicts_do_not_depend_on_where_a_token_lies(void **state)
{
    (void)state;
    static const struct bytes good[] = {TEXT("{\"a\\\\\\\"\":[1,\"\\u00e9\xc3\xa9\",-2.5e+7]}")};
    static const struct bytes bad[] = {
        TEXT("{\"a\":01}"),    TEXT("{\"a\":\"\\\"}"), TEXT("[\"\xc3\"]"),
        TEXT("[\"\\ud800\"]"), TEXT("[1,]"),           TEXT("[\"a\x01\"]"),
    };
    char text[256];
    for (size_t offset = 0; offset < 130; offset++) {
        struct json_fault fault;
        memset(text, ' ', offset);
        memcpy(text + offset, good[0].data, good[0].size);
        assert_true(walk(bytes_of(text, offset + good[0].size), &fault));
        for (size_t i = 0; i < COUNT(bad); i++) {
            memcpy(text + offset, bad[i].data, bad[i].size);
            assert_false(walk(bytes_of(text, offset + bad[i].size), &fault));
            assert_in_range(fault.at, offset + 1, offset + bad[i].size);
        }
    }
}

static void a_text_cut_anywhere_is_refused(void **state)
{
    (void)state;
    static const char whole[] =
        "{\"a\":[1.5e3,{\"b\\u00e9\":null},true,\"\\ud83d\\ude00\xc3\xa9\"],\"c\":{}}";
    struct json_fault fault;
    assert_true(walk(bytes_of(whole, sizeof whole - 1), &fault));
    for (size_t size = 0; size < sizeof whole - 1; size++) {
        if (walk(bytes_of(whole, size), &fault))
            fail_msg("accepted: %.*s", (int)size, whole);
        assert_in_range(fault.at, 0, size);
    }
}

static void a_fault_is_named_with_its_byte(void **state)
{
    (void)state;
    static const struct {
        struct bytes text;
        const char *what;
        size_t at;
    } cases[] = {
        {TEXT(""), "the text is empty", 0},
        {TEXT("{\"a\":1"), "the text ends too early", 6},
        {TEXT("{\"a\":1 \"b\""), "',' or '}' is expected", 7},
        {TEXT("[1 2]"), "',' or ']' is expected", 3},
        {TEXT("{\"a\" 1}"), "':' is expected after a key", 5},
        {TEXT("{\"a\":1,}"), "a key in quotes is expected", 7},
        {TEXT("[1,]"), "no JSON value begins so", 3},
        {TEXT("[NaN]"), "no JSON value begins so", 1},
        {TEXT("[10, 01]"), "a number is malformed", 5},
        {TEXT("[\"ab\\x\"]"), "no such escape in a string", 4},
        {TEXT("{\"a\":\"b"), "a string is not closed", 5},
        {TEXT("{} {}"), "something follows the value", 3},
        {TEXT("\xef\xbb\xbf{}"), "a byte order mark before the value", 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct json_fault fault;
        assert_false(walk(cases[i].text, &fault));
        assert_string_equal(fault.what, cases[i].what);
        assert_int_equal(fault.at, cases[i].at);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_value_may_be_the_whole_text),
        cmocka_unit_test(arrays_and_objects_are_accepted),
        cmocka_unit_test(numbers_of_any_size_are_accepted),
        cmocka_unit_test(malformed_numbers_are_refused),
        cmocka_unit_test(values_that_nobody_looks_at_are_checked_too),
        cmocka_unit_test(literals_are_exact),
        cmocka_unit_test(structure_is_exact),
        cmocka_unit_test(nothing_may_follow_the_value),
        cmocka_unit_test(only_four_characters_are_white_space),
        cmocka_unit_test(no_text_at_all_is_refused),
        cmocka_unit_test(a_byte_order_mark_is_refused),
        cmocka_unit_test(strings_are_accepted),
        cmocka_unit_test(malformed_strings_are_refused),
        cmocka_unit_test(lone_surrogates_are_refused),
        cmocka_unit_test(control_characters_in_strings_are_refused),
        cmocka_unit_test(text_that_is_not_utf8_is_refused),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(verdicts_do_not_depend_on_where_a_token_lies),
        cmocka_unit_test(a_text_cut_anywhere_is_refused),
        cmocka_unit_test(a_fault_is_named_with_its_byte),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
