/* rules/snapshot: a directory, an archive and JSON give the same rules the same name. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "rules/snapshot.h"

static char dir[] = "/tmp/snapshot_spec_XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    memcpy(dir + sizeof dir - 7, "XXXXXX", 6);
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    return 0;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int remove_dir(void **state)
{
    (void)state;
    assert_int_equal(chdir("/"), 0);
    return nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void write_bytes(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void write_text(const char *path, const char *text)
{
    write_bytes(path, text, strlen(text));
}

static void make_rules(void)
{
    mkdir("rules", 0700);
    mkdir("rules/streams", 0700);
    write_text("rules/init.lua", "return {}\n");
    write_text("rules/streams/b.lua", "-- b \"quoted\" \\ \xe2\x82\xac\n");
    write_text("rules/streams/a.lua", "");
}

static struct rules_snapshot *read_rules(const char *path)
{
    struct error err = {0};
    struct rules_snapshot *snapshot = rules_snapshot_read(path, &err);
    if (!snapshot)
        fail_msg("%s", err.text);
    return snapshot;
}

static void expect_unreadable(const char *path, const char *part)
{
    struct error err = {0};
    assert_null(rules_snapshot_read(path, &err));
    if (!strstr(err.text, part))
        fail_msg("\"%s\" does not say \"%s\"", err.text, part);
}

static void expect_rules(const struct rules_snapshot *snapshot)
{
    assert_int_equal(snapshot->n_files, 3);
    assert_string_equal(snapshot->files[0].path, "init.lua");
    assert_string_equal(snapshot->files[0].data, "return {}\n");
    assert_string_equal(snapshot->files[1].path, "streams/a.lua");
    assert_int_equal(snapshot->files[1].size, 0);
    assert_string_equal(snapshot->files[2].path, "streams/b.lua");
    assert_int_equal(snapshot->files[2].size, 20);
    assert_int_equal(strlen(snapshot->hash), 64);
}

static void a_directory_is_read_sorted_and_named(void **state)
{
    (void)state;
    make_rules();
    struct rules_snapshot *snapshot = read_rules("rules");
    expect_rules(snapshot);
    struct rules_snapshot *copy = rules_snapshot_copy(snapshot);
    rules_snapshot_free(snapshot);
    expect_rules(copy);
    rules_snapshot_free(copy);
}

static void the_hash_follows_paths_and_contents(void **state)
{
    (void)state;
    make_rules();
    struct rules_snapshot *before = read_rules("rules");
    write_text("rules/README.md", "not a rule");
    write_text("rules/.#init.lua", "an editor's");
    mkdir("rules/.git", 0700);
    write_text("rules/.git/x.lua", "hidden");
    struct rules_snapshot *same = read_rules("rules");
    assert_string_equal(before->hash, same->hash);
    rename("rules/streams/a.lua", "rules/streams/c.lua");
    struct rules_snapshot *renamed = read_rules("rules");
    assert_string_not_equal(before->hash, renamed->hash);
    rename("rules/streams/c.lua", "rules/streams/a.lua");
    write_text("rules/init.lua", "return {} ");
    struct rules_snapshot *edited = read_rules("rules");
    assert_string_not_equal(before->hash, edited->hash);
    rules_snapshot_free(before);
    rules_snapshot_free(same);
    rules_snapshot_free(renamed);
    rules_snapshot_free(edited);
}

static void links_are_followed_as_kubernetes_makes_them(void **state)
{
    (void)state;
    make_rules();
    mkdir("mount", 0700);
    assert_int_equal(rename("rules", "mount/..2026_11_25"), 0);
    assert_int_equal(symlink("..2026_11_25", "mount/..data"), 0);
    assert_int_equal(symlink("..data/init.lua", "mount/init.lua"), 0);
    assert_int_equal(symlink("..data/streams", "mount/streams"), 0);
    struct rules_snapshot *snapshot = read_rules("mount");
    expect_rules(snapshot);
    rules_snapshot_free(snapshot);
}

static void what_cannot_be_read_is_said_with_its_path(void **state)
{
    (void)state;
    expect_unreadable("nowhere", "nowhere/: No such file or directory");
    mkdir("empty", 0700);
    expect_unreadable("empty", "rules in empty: no Lua files");
    make_rules();
    assert_int_equal(symlink("gone", "rules/x.lua"), 0);
    expect_unreadable("rules", "rules/x.lua: No such file or directory");
    unlink("rules/x.lua");
    assert_int_equal(symlink("..", "rules/streams/circle"), 0);
    expect_unreadable("rules", "a link that leads in a circle?");
    unlink("rules/streams/circle");
    assert_int_equal(mkfifo("rules/x.lua", 0600), 0);
    expect_unreadable("rules", "rules/x.lua: not a regular file");
    unlink("rules/x.lua");
    write_text("rules/x.lua", "\x1bLJ\x02\xff");
    expect_unreadable("rules", "x.lua: not UTF-8 text");
    write_bytes("rules/x.lua", "a\0b", 3);
    expect_unreadable("rules", "x.lua: not UTF-8 text");
    unlink("rules/x.lua");
    assert_int_equal(truncate("rules/init.lua", 9 * 1024 * 1024), 0);
    expect_unreadable("rules", "rules/init.lua: more than 8388608 bytes");
}

static void more_than_a_thousand_files_are_refused(void **state)
{
    (void)state;
    mkdir("many", 0700);
    for (int i = 0; i <= 1000; i++) {
        char path[32];
        snprintf(path, sizeof path, "many/%04d.lua", i);
        write_text(path, "");
    }
    expect_unreadable("many", "more than 1000 Lua files");
    unlink("many/0000.lua");
    struct rules_snapshot *snapshot = read_rules("many");
    assert_int_equal(snapshot->n_files, 1000);
    rules_snapshot_free(snapshot);
}

/* ---- archives ---- */

static struct bytes slurp(const char *path)
{
    static char data[1 << 20];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t size = fread(data, 1, sizeof data, file);
    fclose(file);
    return bytes_of(data, size);
}

static struct rules_snapshot *from_tar(const char *command, struct error *err)
{
    assert_int_equal(system(command), 0);
    return rules_snapshot_from_tar(slurp("x.tar"), err);
}

static void an_archive_gives_the_same_snapshot_as_its_directory(void **state)
{
    (void)state;
    static const char *const formats[] = {"ustar", "gnu", "pax"};
    make_rules();
    struct rules_snapshot *expected = read_rules("rules");
    write_text("rules/README.md", "not a rule");
    mkdir("rules/.git", 0700);
    write_text("rules/.git/x.lua", "hidden");
    assert_int_equal(symlink("README.md", "rules/LIESMICH"), 0);
    for (size_t i = 0; i < 3; i++) {
        struct error err = {0};
        char command[128];
        snprintf(command, sizeof command, "tar -C rules --format=%s -cf x.tar .", formats[i]);
        struct rules_snapshot *snapshot = from_tar(command, &err);
        if (!snapshot)
            fail_msg("%s: %s", formats[i], err.text);
        expect_rules(snapshot);
        assert_string_equal(snapshot->hash, expected->hash);
        rules_snapshot_free(snapshot);
    }
    rules_snapshot_free(expected);
}

static void expect_bad_tar(const char *command, const char *part)
{
    struct error err = {0};
    assert_null(from_tar(command, &err));
    if (!strstr(err.text, part))
        fail_msg("%s: \"%s\" does not say \"%s\"", command, err.text, part);
}

static void an_archive_cannot_name_what_lies_outside(void **state)
{
    (void)state;
    make_rules();
    expect_bad_tar("cd rules/streams && tar -P -cf ../../x.tar ../init.lua",
                   "\"../init.lua\": expected a path inside the archive");
    expect_bad_tar("tar -P -cf x.tar $PWD/rules/init.lua", "expected a path inside the archive");
    expect_bad_tar("cd rules && tar --transform 's,^,a/../,' -cf ../x.tar init.lua",
                   "\"a/../init.lua\"");
    assert_int_equal(symlink("/etc/passwd", "rules/x.lua"), 0);
    expect_bad_tar("tar -C rules -cf x.tar x.lua", "x.lua: expected a file, not a link");
    unlink("rules/x.lua");
    expect_bad_tar("tar -C rules -cf x.tar init.lua init.lua --hard-dereference",
                   "init.lua: given twice");
}

static void a_damaged_archive_is_refused(void **state)
{
    (void)state;
    make_rules();
    expect_bad_tar("tar -C rules -czf x.tar .", "uncompressed ustar archive");
    expect_bad_tar("tar -C rules -cf y.tar init.lua && head -c 515 y.tar > x.tar",
                   "init.lua: the archive ends inside this file");
    expect_bad_tar("head -c 300 y.tar > x.tar", "byte 0: expected the header of a file");
    expect_bad_tar("sed 's/init/exit/' y.tar > x.tar", "byte 0: expected the header of a file");
    expect_bad_tar(": > x.tar", "no Lua files");
    expect_bad_tar("cp rules/init.lua long.lua; tar --format=gnu --transform "
                   "\"s,long,$(printf 'n%.0s' $(seq 120)),\" -cf x.tar long.lua",
                   "--format=ustar");
    expect_bad_tar("tar --format=pax --transform \"s,long,$(printf 'n%.0s' $(seq 300)),\" "
                   "-cf x.tar long.lua",
                   "--format=ustar");
}

static void a_long_path_in_ustar_form_is_put_together(void **state)
{
    (void)state;
    struct error err = {0};
    make_rules();
    struct rules_snapshot *snapshot =
        from_tar("tar -C rules --format=ustar --transform "
                 "\"s,^,$(printf 'n%.0s' $(seq 90))/$(printf 'm%.0s' $(seq 40))/,\" "
                 "-cf x.tar init.lua",
                 &err);
    if (!snapshot)
        fail_msg("%s", err.text);
    assert_int_equal(strlen(snapshot->files[0].path), 90 + 1 + 40 + 1 + 8);
    rules_snapshot_free(snapshot);
}

/* ---- JSON ---- */

static void json_and_back_is_the_same_snapshot(void **state)
{
    (void)state;
    make_rules();
    struct error err = {0};
    struct buffer json = {0};
    struct rules_snapshot *snapshot = read_rules("rules");
    rules_snapshot_to_json(snapshot, &json);
    assert_string_equal(json.data,
                        "{\"init.lua\":\"return {}\\n\",\"streams/a.lua\":\"\","
                        "\"streams/b.lua\":\"-- b \\\"quoted\\\" \\\\ \xe2\x82\xac\\n\"}");
    struct rules_snapshot *back = rules_snapshot_from_json(buffer_bytes(&json), &err);
    assert_non_null(back);
    expect_rules(back);
    assert_string_equal(back->hash, snapshot->hash);
    rules_snapshot_free(back);
    rules_snapshot_free(snapshot);
    buffer_free(&json);
}

static void text_that_moves_from_a_file_into_a_path_changes_the_hash(void **state)
{
    (void)state;
    struct error err = {0};
    struct rules_snapshot *a =
        rules_snapshot_from_json(bytes_of_string("{\"a.lua\":\"q\",\"c.lua\":\"\"}"), &err);
    struct rules_snapshot *b =
        rules_snapshot_from_json(bytes_of_string("{\"a.lua\":\"\",\"qc.lua\":\"\"}"), &err);
    assert_string_not_equal(a->hash, b->hash);
    rules_snapshot_free(a);
    rules_snapshot_free(b);
}

static void json_of_another_form_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"", "files: expected a JSON object {path: text}: "},
        {"[]", "files: expected a JSON object {path: text}"},
        {"{}", "files: no Lua files"},
        {"{\"a.lua\":1}", "files: a.lua: expected its text as a string"},
        {"{\"../a.lua\":\"\"}", "files: \"../a.lua\": expected the relative path of a Lua file"},
        {"{\"/a.lua\":\"\"}", "expected the relative path"},
        {"{\"a.txt\":\"\"}", "expected the relative path"},
        {"{\"a.lua\":\"\",\"a.lua\":\"\"}", "duplicate"},
        {"{\"a.lua\":\"\\u0000\"}", "files: expected a JSON object"},
        {"{\"a.lua\":\"\"} x", "files: expected a JSON object"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct error err = {0};
        assert_null(rules_snapshot_from_json(bytes_of_string(wrong[i][0]), &err));
        if (!strstr(err.text, wrong[i][1]))
            fail_msg("\"%s\" does not say \"%s\"", err.text, wrong[i][1]);
    }
    struct error err;
    assert_null(rules_snapshot_from_json(bytes_of(NULL, 0), &err));
}

int main(void)
{
#define spec(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        spec(a_directory_is_read_sorted_and_named),
        spec(the_hash_follows_paths_and_contents),
        spec(links_are_followed_as_kubernetes_makes_them),
        spec(what_cannot_be_read_is_said_with_its_path),
        spec(more_than_a_thousand_files_are_refused),
        spec(an_archive_gives_the_same_snapshot_as_its_directory),
        spec(an_archive_cannot_name_what_lies_outside),
        spec(a_damaged_archive_is_refused),
        spec(a_long_path_in_ustar_form_is_put_together),
        spec(json_and_back_is_the_same_snapshot),
        spec(text_that_moves_from_a_file_into_a_path_changes_the_hash),
        spec(json_of_another_form_is_refused),
    };
    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
