/* rules/watch: what counts as a change. Scans run as fast as the loop turns. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "base/clock.h"
#include "base/log.h"
#include "rules/watch.h"

#define INTERVAL_MS 2

static char dir[] = "/tmp/watch_spec_XXXXXX";
static struct event_base *base;
static struct rules_watch *watch;
static int changes;

static void count_change(void *arg)
{
    ++*(int *)arg;
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int start(void **state)
{
    (void)state;
    log_setup(LOG_ERROR, false);
    memcpy(dir + sizeof dir - 7, "XXXXXX", 6);
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    mkdir("v1", 0700);
    mkdir("v1/streams", 0700);
    write_text("v1/init.lua", "1");
    write_text("v1/streams/a.lua", "1");
    assert_int_equal(symlink("v1", "live"), 0);
    changes = 0;
    base = event_base_new();
    watch = rules_watch_new(base, "live", INTERVAL_MS, count_change, &changes);
    return 0;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int stop(void **state)
{
    (void)state;
    rules_watch_free(watch);
    event_base_free(base);
    assert_int_equal(chdir("/"), 0);
    return nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Turns the loop for several intervals. */
static void let_time_pass(int ms)
{
    int64_t end_ms = clock_monotonic_ms() + ms;
    while (clock_monotonic_ms() < end_ms)
        event_base_loop(base, EVLOOP_ONCE);
}

static void expect_changes(int expected)
{
    int64_t deadline_ms = clock_monotonic_ms() + 5000;
    while (changes < expected && clock_monotonic_ms() < deadline_ms)
        event_base_loop(base, EVLOOP_ONCE);
    let_time_pass(30);
    assert_int_equal(changes, expected);
}

static void nothing_happens_while_nothing_changes(void **state)
{
    (void)state;
    write_text("v1/README.md", "not a rule");
    write_text("v1/.init.lua.swp", "an editor's");
    write_text("v1/.hidden.lua", "hidden");
    expect_changes(0);
}

static void each_kind_of_edit_is_one_change(void **state)
{
    (void)state;
    write_text("v1/init.lua", "22"); /* written in place */
    expect_changes(1);
    write_text("v1/.init.lua.new", "33"); /* renamed over it */
    assert_int_equal(rename("v1/.init.lua.new", "v1/init.lua"), 0);
    expect_changes(2);
    write_text("v1/streams/b.lua", "");
    expect_changes(3);
    unlink("v1/streams/b.lua");
    expect_changes(4);
    assert_int_equal(rename("v1/streams", "v1/topics"), 0);
    expect_changes(5);
}

static void a_directory_swapped_by_link_is_one_change(void **state)
{
    (void)state;
    mkdir("v2", 0700);
    write_text("v2/init.lua", "1");
    assert_int_equal(symlink("v2", "next"), 0);
    assert_int_equal(rename("next", "live"), 0);
    expect_changes(1);
}

static void it_waits_until_the_files_are_quiet(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        char text[16];
        snprintf(text, sizeof text, "%0*d", i % 2 + 3, i);
        write_text("v1/init.lua", text);
        event_base_loop(base, EVLOOP_ONCE); /* at most one scan between two edits */
        assert_int_equal(changes, 0);
    }
    expect_changes(1);
}

static void missing_for_a_moment_is_no_change(void **state)
{
    (void)state;
    assert_int_equal(rename("v1", "away"), 0);
    event_base_loop(base, EVLOOP_ONCE); /* one scan */
    assert_int_equal(rename("away", "v1"), 0);
    expect_changes(0);
    assert_int_equal(rename("v1", "away"), 0);
    event_base_loop(base, EVLOOP_ONCE);
    write_text("away/init.lua", "edited meanwhile");
    assert_int_equal(rename("away", "v1"), 0);
    expect_changes(1);
}

static void gone_for_longer_is_a_change_and_so_is_being_back(void **state)
{
    (void)state;
    assert_int_equal(rename("v1", "away"), 0);
    expect_changes(1);
    assert_int_equal(rename("away", "v1"), 0);
    expect_changes(2);
    assert_int_equal(symlink("nowhere", "v1/dangling.lua"), 0);
    expect_changes(3);
    unlink("v1/dangling.lua");
    expect_changes(4);
}

static void other_permissions_are_a_change(void **state)
{
    (void)state;
    assert_int_equal(chmod("v1/init.lua", 0400), 0);
    expect_changes(1);
}

static void free_watch(void *arg)
{
    count_change(arg);
    rules_watch_free(watch);
    watch = NULL;
}

static void the_callback_may_free_the_watch(void **state)
{
    (void)state;
    rules_watch_free(watch);
    watch = rules_watch_new(base, "live", INTERVAL_MS, free_watch, &changes);
    write_text("v1/init.lua", "22");
    int64_t deadline_ms = clock_monotonic_ms() + 5000;
    while (watch && clock_monotonic_ms() < deadline_ms)
        event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(changes, 1);
    assert_null(watch);
}

static void an_interval_of_zero_watches_nothing(void **state)
{
    (void)state;
    rules_watch_free(watch);
    watch = rules_watch_new(base, "live", 0, count_change, &changes);
    write_text("v1/init.lua", "22");
    assert_int_equal(event_base_loop(base, EVLOOP_NONBLOCK), 1); /* no events are there */
    assert_int_equal(changes, 0);
}

int main(void)
{
#define spec(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        spec(nothing_happens_while_nothing_changes),
        spec(each_kind_of_edit_is_one_change),
        spec(a_directory_swapped_by_link_is_one_change),
        spec(it_waits_until_the_files_are_quiet),
        spec(missing_for_a_moment_is_no_change),
        spec(gone_for_longer_is_a_change_and_so_is_being_back),
        spec(other_permissions_are_a_change),
        spec(the_callback_may_free_the_watch),
        spec(an_interval_of_zero_watches_nothing),
    };
    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
