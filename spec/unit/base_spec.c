/* base/: errors, memory, buffers, arenas, hashes, UTF-8. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/double.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/utf8.h"

static void an_error_keeps_its_text_and_takes_context(void **state)
{
    (void)state;
    struct error err = {0};
    assert_false(error_set(&err, "%s: no such file", "init.lua"));
    assert_string_equal(err.text, "init.lua: no such file");
    assert_false(error_context(&err, "rules in %s", "./lua"));
    assert_string_equal(err.text, "rules in ./lua: init.lua: no such file");
    assert_false(error_set(&err, "again: %s", err.text));
    assert_string_equal(err.text, "again: rules in ./lua: init.lua: no such file");
    assert_false(error_set(NULL, "nobody listens"));
    assert_false(error_context(NULL, "nobody listens"));
}

static void a_long_error_is_cut_between_characters(void **state)
{
    (void)state;
    struct error err;
    char text[3000];
    memset(text, 0, sizeof text);
    for (size_t i = 0; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    for (size_t shift = 0; shift < 2; shift++) {
        error_set(&err, "%s%s", shift ? "x" : "", text);
        size_t size = strlen(err.text);
        assert_in_range(size, sizeof err.text - 3, sizeof err.text - 1);
        assert_string_equal(err.text + size - 3, "...");
        assert_true(utf8_is_valid(bytes_of_string(err.text)));
    }
}

static void memory_of_no_size_is_memory(void **state)
{
    (void)state;
    void *block = memory_alloc(0);
    assert_non_null(block);
    block = memory_resize(block, 0);
    assert_non_null(block);
    free(block);
    char *text = memory_printf("%d %s", 7, "rows");
    assert_string_equal(text, "7 rows");
    free(text);
    text = memory_string_n("market_data", 6);
    assert_string_equal(text, "market");
    free(text);
}

static void a_buffer_grows_and_stays_terminated(void **state)
{
    (void)state;
    struct buffer buf = {0};
    assert_int_equal(buffer_bytes(&buf).size, 0);
    assert_non_null(buffer_bytes(&buf).data);
    for (int i = 0; i < 1000; i++)
        buffer_printf(&buf, "%d,", i % 10);
    assert_int_equal(buf.size, 2000);
    assert_int_equal(strlen(buf.data), 2000);
    buffer_clear(&buf);
    assert_string_equal(buf.data, "");
    buffer_append_be16(&buf, 0x0102);
    buffer_append_be32(&buf, 0x03040506);
    buffer_append_be64(&buf, UINT64_C(0x0708090a0b0c0d0e));
    assert_memory_equal(buf.data, "\1\2\3\4\5\6\7\10\11\12\13\14\15\16", 14);
    buffer_free(&buf);
    buffer_append_string(&buf, "usable again");
    assert_string_equal(buf.data, "usable again");
    buffer_free(&buf);
    buffer_free(NULL);
}

static void expect_json(const char *data, size_t size, const char *expected)
{
    struct buffer buf = {0};
    buffer_append_json(&buf, bytes_of(data, size));
    assert_string_equal(buf.data, expected);
    buffer_free(&buf);
}

static void json_strings_are_escaped_and_always_utf8(void **state)
{
    (void)state;
    expect_json("", 0, "\"\"");
    expect_json("a\"b\\c\n\x01\x7f", 8, "\"a\\\"b\\\\c\\n\\u0001\\u007f\"");
    expect_json("a\0b", 3, "\"a\\u0000b\"");
    expect_json("\xe2\x82\xac", 3, "\"\xe2\x82\xac\"");
    expect_json("\xe2\x82", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    expect_json("\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    expect_json("x\xffy", 3, "\"x\xef\xbf\xbdy\"");
}

static void expect_double(double number, const char *expected)
{
    struct buffer buf = {0};
    buffer_append_double(&buf, number);
    assert_string_equal(buf.data, expected);
    buffer_free(&buf);
}

static void doubles_are_written_short_and_plain(void **state)
{
    (void)state;
    expect_double(0, "0");
    expect_double(-0.0, "-0");
    expect_double(50000, "50000");
    expect_double(-50000.5, "-50000.5");
    expect_double(0.1, "0.1");
    expect_double(0.1 + 0.2, "0.30000000000000004");
    expect_double(0.00001234, "0.00001234");
    expect_double(1e-7, "1e-7");
    expect_double(1e15, "1000000000000000");
    expect_double(1704067200000, "1704067200000");
    expect_double(9007199254740993.0, "9007199254740992");
    expect_double(1e21, "1e+21");
    expect_double(1e300, "1e+300");
    expect_double(1.7976931348623157e308, "1.7976931348623157e+308");
    expect_double(5e-324, "5e-324");
    expect_double(2.2250738585072014e-308, "2.2250738585072014e-308");
    expect_double(NAN, "null");
    expect_double(INFINITY, "null");
}

static void every_double_reads_back_as_itself(void **state)
{
    (void)state;
    struct buffer buf = {0};
    uint64_t bits = 1;
    for (int i = 0; i < 20000; i++) {
        bits = hash_bytes(bits, bytes_of_string("next"));
        double number;
        memcpy(&number, &bits, sizeof number);
        if (!isfinite(number))
            continue;
        buffer_clear(&buf);
        buffer_append_double(&buf, number);
        assert_true(strtod(buf.data, NULL) == number);
        double read = 0;
        assert_true(double_read(buffer_bytes(&buf), &read));
        assert_true(read == number);
    }
    buffer_free(&buf);
}

/* Halfway between two doubles, of many digits, near the ends of the range. */
static void text_is_read_as_strtod_reads_it(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {
        "9007199254740993",
        "9007199254740992.99999999999999999",
        "-0",
        "0.1e1",
        "1E+2",
        "179769313486231580793e288",
        "2.2250738585072011e-308",
        "5e-324",
        "0."
        "00000000000000000000000000000000000000000000000000000000000000000000000012345678901234567"
        "8",
        "123456789012345678901234567890123456789012345678901234567890"};
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        double read = 1;
        assert_true(double_read(bytes_of_string(TEXTS[i]), &read));
        double expected = strtod(TEXTS[i], NULL);
        assert_memory_equal(&read, &expected, sizeof read);
    }
    static const char *const NONE[] = {"", "1e400", "-1e400", "1e-400", "1x", " 1", "+1", "1e"};
    for (size_t i = 0; i < sizeof NONE / sizeof NONE[0]; i++) {
        double read;
        assert_false(double_read(bytes_of_string(NONE[i]), &read));
    }
}

static void an_arena_hands_out_memory_that_does_not_overlap(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    struct arena arena = {0};
    static unsigned char *blocks[COUNT];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            size_t size = i % 100 == 99 ? 300000 : i % 97;
            blocks[i] = arena_alloc(&arena, size);
            assert_int_equal((uintptr_t)blocks[i] % _Alignof(max_align_t), 0);
            memset(blocks[i], (int)(i & 0xff), size);
        }
        for (size_t i = 0; i < COUNT; i++) {
            size_t size = i % 100 == 99 ? 300000 : i % 97;
            for (size_t at = 0; at < size; at += 50)
                assert_int_equal(blocks[i][at], i & 0xff);
        }
        assert_true(arena.size_bytes >= 20 * 300000);
        arena_reset(&arena);
        assert_int_equal(arena.size_bytes, 0);
    }
    arena_free(&arena);
    arena_free(&arena);
    arena_free(NULL);
}

static void an_arena_copies_and_formats(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct bytes copy = arena_copy(&arena, bytes_of("BTCUSDT-1m", 7));
    assert_string_equal(copy.data, "BTCUSDT");
    assert_int_equal(copy.size, 7);
    assert_null(arena_copy(&arena, bytes_of(NULL, 0)).data);
    assert_non_null(arena_copy(&arena, bytes_of("", 0)).data);
    assert_string_equal(arena_printf(&arena, "%s/%d", "market_data", 3), "market_data/3");
    arena_free(&arena);
}

static void sha256_names_content(void **state)
{
    (void)state;
    char hex[SHA256_HEX_SIZE];
    struct sha256 *digest = sha256_new();
    sha256_add(digest, bytes_of_string("a"));
    sha256_add(digest, bytes_of(NULL, 0));
    sha256_add(digest, bytes_of_string("bc"));
    sha256_finish(digest, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void the_table_hash_depends_on_bytes_size_and_seed(void **state)
{
    (void)state;
    uint64_t hash = hash_bytes(0, bytes_of_string("BTCUSDT"));
    assert_true(hash == hash_bytes(0, bytes_of_string("BTCUSDT")));
    assert_true(hash != hash_bytes(1, bytes_of_string("BTCUSDT")));
    assert_true(hash != hash_bytes(0, bytes_of("BTCUSDT", 8)));
    assert_true(hash != hash_bytes(0, bytes_of_string("ETHUSDT")));
    /* The low bits choose the slot in a table: they must spread. */
    int slots[64] = {0};
    for (uint32_t i = 0; i < 6400; i++)
        slots[hash_bytes(0, bytes_of((const char *)&i, sizeof i)) % 64]++;
    for (int i = 0; i < 64; i++)
        assert_in_range(slots[i], 50, 160);
}

static void utf8_is_judged_strictly(void **state)
{
    (void)state;
    assert_true(utf8_is_valid(bytes_of(NULL, 0)));
    assert_true(utf8_is_valid(bytes_of_string("\xf4\x8f\xbf\xbf \xed\x9f\xbf \xc2\x80")));
    static const char *const wrong[] = {"\xc0\x80",
                                        "\xc1\xbf",
                                        "\xe0\x9f\xbf",
                                        "\xed\xa0\x80",
                                        "\xf0\x8f\xbf\xbf",
                                        "\xf4\x90\x80\x80",
                                        "\xf5\x80\x80\x80",
                                        "\x80",
                                        "\xe2\x82",
                                        "\xe2\x82x",
                                        "\xff"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(utf8_is_valid(bytes_of_string(wrong[i])));
}

static void clocks_go_forward(void **state)
{
    (void)state;
    int64_t monotonic_us = clock_monotonic_us();
    int64_t cpu_us = clock_thread_cpu_us();
    assert_true(clock_monotonic_us() >= monotonic_us);
    assert_true(clock_thread_cpu_us() >= cpu_us);
    assert_true(clock_monotonic_ms() >= monotonic_us / 1000);
    assert_true(clock_realtime_ms() > INT64_C(1700000000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_keeps_its_text_and_takes_context),
        cmocka_unit_test(a_long_error_is_cut_between_characters),
        cmocka_unit_test(memory_of_no_size_is_memory),
        cmocka_unit_test(a_buffer_grows_and_stays_terminated),
        cmocka_unit_test(json_strings_are_escaped_and_always_utf8),
        cmocka_unit_test(doubles_are_written_short_and_plain),
        cmocka_unit_test(every_double_reads_back_as_itself),
        cmocka_unit_test(text_is_read_as_strtod_reads_it),
        cmocka_unit_test(an_arena_hands_out_memory_that_does_not_overlap),
        cmocka_unit_test(an_arena_copies_and_formats),
        cmocka_unit_test(sha256_names_content),
        cmocka_unit_test(the_table_hash_depends_on_bytes_size_and_seed),
        cmocka_unit_test(utf8_is_judged_strictly),
        cmocka_unit_test(clocks_go_forward),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
