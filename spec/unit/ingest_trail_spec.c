/* How a topic that was made anew is told from the one that was read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ingest/trail.h"

static struct message message_at(int64_t offset, int64_t time_ms, const char *key,
                                 const char *payload)
{
    return (struct message){.topic = "t",
                            .offset = offset,
                            .timestamp_ms = time_ms,
                            .key = bytes_of_string(key),
                            .payload = bytes_of_string(payload)};
}

static struct mark mark_at(int64_t offset, int64_t time_ms, const char *key, const char *payload)
{
    const struct message message = message_at(offset, time_ms, key, payload);
    return mark_of_message(&message);
}

static void tells_messages_by_place_time_key_and_payload(void **state)
{
    (void)state;
    const struct mark one = mark_at(7, 1000, "k", "v");
    const struct mark others[] = {
        mark_at(8, 1000, "k", "v"),  mark_at(7, 1001, "k", "v"),  mark_at(7, 1000, "kv", ""),
        mark_at(7, 1000, "", "kv"),  mark_at(7, 1000, NULL, "v"), mark_at(7, 1000, "k", NULL),
        mark_at(7, 1000, "k", "v "), mark_at(7, -1, "k", "v"),
    };
    const struct mark same = mark_at(7, 1000, "k", "v");
    assert_true(mark_is_same(&one, &same));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(mark_is_same(&one, &others[i]));
}

/* What an older version has stored must still be found. */
static void hashes_as_every_version_does(void **state)
{
    (void)state;
    assert_true(mark_at(0, 0, "k", "v").hash == (int64_t)UINT64_C(0xc16b06a28a3e73b1));
    assert_true(mark_at(0, 0, NULL, NULL).hash == INT64_C(0x6395d4c3d96a2f69));
}

static void judges_by_what_lies_there_now(void **state)
{
    (void)state;
    const struct mark old = mark_at(3, 10, "k", "old"), recent = mark_at(9, 20, "k", "recent");
    const struct marks kept = {.recent = recent, .oldest = old};
    const struct marks single = {.recent = recent, .oldest = recent};
    const struct trail_found silent = {.what = FOUND_SILENT}, gone = {.what = FOUND_GONE},
                             same = {FOUND_MESSAGE, recent}, same_old = {FOUND_MESSAGE, old},
                             other = {FOUND_MESSAGE, mark_at(9, 30, "k", "recent")},
                             other_old = {FOUND_MESSAGE, mark_at(3, 30, "k", "old")};
    const struct {
        const struct marks *kept;
        struct trail_found recent, oldest;
        enum trail_verdict verdict;
    } cases[] = {
        {&kept, silent, other_old, TRAIL_SILENT}, {&kept, gone, other_old, TRAIL_UNKNOWN},
        {&kept, same, silent, TRAIL_SAME},        {&kept, same, other_old, TRAIL_SAME},
        {&kept, other, other_old, TRAIL_ANEW},    {&kept, other, same_old, TRAIL_CHANGED},
        {&kept, other, gone, TRAIL_CHANGED},      {&kept, other, silent, TRAIL_SILENT},
        {&single, other, silent, TRAIL_ANEW},     {&single, gone, silent, TRAIL_UNKNOWN},
        {&single, same, silent, TRAIL_SAME},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(trail_judge(cases[i].kept, &cases[i].recent, &cases[i].oldest),
                         cases[i].verdict);
}

static void note(struct trail *trail, int64_t offset)
{
    const struct message message = message_at(offset, offset * 10, "k", "v");
    trail_note(trail, &message);
}

static void expect_kept(const struct trail *trail, int64_t recent, int64_t oldest)
{
    assert_true(trail->kept.recent.is_set && trail->kept.oldest.is_set);
    assert_int_equal(trail->kept.recent.offset, recent);
    assert_int_equal(trail->kept.oldest.offset, oldest);
}

static void begin(struct trail *trail)
{
    static const struct marks none;
    trail_begin(trail, &none);
}

static void keeps_the_first_message_that_is_stored(void **state)
{
    (void)state;
    struct trail trail;
    begin(&trail);
    trail_advance(&trail, TRAIL_UNKNOWN, -1); /* nothing was read yet */
    assert_false(trail.kept.recent.is_set || trail.is_unsaved);
    note(&trail, 4);
    note(&trail, 5);
    trail_choose(&trail, 4); /* it is not stored yet */
    trail_advance(&trail, TRAIL_UNKNOWN, -1);
    assert_false(trail.kept.recent.is_set);
    trail_choose(&trail, 6);
    trail_advance(&trail, TRAIL_UNKNOWN, -1);
    expect_kept(&trail, 4, 4);
    assert_true(trail.is_unsaved);
}

static void goes_on_only_with_what_was_read_before_the_comparison(void **state)
{
    (void)state;
    struct trail trail;
    begin(&trail);
    note(&trail, 0);
    trail_choose(&trail, 1);
    trail_advance(&trail, TRAIL_UNKNOWN, 0);
    note(&trail, 10);
    trail_choose(&trail, 11); /* and Kafka is asked about 0 */
    note(&trail, 20);
    trail_advance(&trail, TRAIL_SAME, 0);
    expect_kept(&trail, 10, 0);
    trail_choose(&trail, 21);
    trail_advance(&trail, TRAIL_SAME, 0);
    expect_kept(&trail, 20, 0);
    trail.is_unsaved = false;
    trail_advance(&trail, TRAIL_SAME, 0); /* nothing new */
    expect_kept(&trail, 20, 0);
    assert_false(trail.is_unsaved);
}

static void lets_the_oldest_follow_what_kafka_deletes(void **state)
{
    (void)state;
    struct trail trail;
    begin(&trail);
    for (int64_t offset = 0; offset < 30; offset += 10) {
        note(&trail, offset);
        trail_choose(&trail, offset + 1);
        trail_advance(&trail, offset ? TRAIL_SAME : TRAIL_UNKNOWN, 0);
    }
    expect_kept(&trail, 20, 0);
    note(&trail, 30);
    trail_choose(&trail, 31);
    trail_advance(&trail, TRAIL_SAME, 5);
    expect_kept(&trail, 30, 20);
    note(&trail, 40);
    trail_choose(&trail, 41);
    trail_advance(&trail, TRAIL_UNKNOWN, 35);
    expect_kept(&trail, 40, 40);
}

static void forgets_what_is_gone_when_there_is_nothing_newer(void **state)
{
    (void)state;
    struct trail trail;
    begin(&trail);
    note(&trail, 0);
    trail_choose(&trail, 1);
    trail_advance(&trail, TRAIL_UNKNOWN, 0);
    trail.is_unsaved = false;
    trail_advance(&trail, TRAIL_UNKNOWN, 1);
    assert_false(trail.kept.recent.is_set || trail.kept.oldest.is_set);
    assert_true(trail.is_unsaved);
}

static void travels_as_an_array(void **state)
{
    (void)state;
    struct buffer text = {0};
    const struct marks marks = {.recent = {true, 10, 1700000000000, INT64_MIN},
                                .oldest = {true, 0, -1, INT64_MAX}};
    marks_write(&marks, &text);
    assert_string_equal(buffer_bytes(&text).data,
                        "{10,1700000000000,-9223372036854775808,0,-1,9223372036854775807}");
    struct marks read = marks_parse(buffer_bytes(&text).data);
    assert_true(mark_is_same(&read.recent, &marks.recent) && read.recent.is_set);
    assert_true(mark_is_same(&read.oldest, &marks.oldest) && read.oldest.is_set);
    static const char *const bad[] = {"", "{}", "{1,2,3}", "{1,2,3,4,5,NULL}", "1,2,3,4,5,6"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(marks_parse(bad[i]).recent.is_set);
    buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest specs[] = {
        cmocka_unit_test(tells_messages_by_place_time_key_and_payload),
        cmocka_unit_test(hashes_as_every_version_does),
        cmocka_unit_test(judges_by_what_lies_there_now),
        cmocka_unit_test(keeps_the_first_message_that_is_stored),
        cmocka_unit_test(goes_on_only_with_what_was_read_before_the_comparison),
        cmocka_unit_test(lets_the_oldest_follow_what_kafka_deletes),
        cmocka_unit_test(forgets_what_is_gone_when_there_is_nothing_newer),
        cmocka_unit_test(travels_as_an_array),
    };
    return cmocka_run_group_tests(specs, NULL, NULL);
}
