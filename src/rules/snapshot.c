#include "rules/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "rules/snapshot_builder.h"
#include "rules/walk.h"

#define READS_MAX 5

/* ---- building ---- */

void snapshot_builder_begin(struct snapshot_builder *builder)
{
    *builder = (struct snapshot_builder){.snapshot = memory_zero(1, sizeof *builder->snapshot)};
}

bool snapshot_builder_add(struct snapshot_builder *builder, struct bytes path, struct bytes data,
                          struct error *err)
{
    struct rules_snapshot *snapshot = builder->snapshot;
    if (!utf8_is_valid(path) || !utf8_is_valid(data) ||
        (data.size && memchr(data.data, '\0', data.size)))
        return error_set(err, "%.*s: not UTF-8 text", (int)path.size, path.data);
    if (snapshot->n_files == SNAPSHOT_FILES_MAX)
        return error_set(err, "more than %d Lua files", SNAPSHOT_FILES_MAX);
    if (data.size > SNAPSHOT_BYTES_MAX - builder->bytes)
        return error_set(err, "%.*s: more than %zu bytes of Lua files", (int)path.size, path.data,
                         SNAPSHOT_BYTES_MAX);
    if (!snapshot->files)
        snapshot->files = memory_zero(SNAPSHOT_FILES_MAX, sizeof *snapshot->files);
    snapshot->files[snapshot->n_files++] =
        (struct rules_file){.path = memory_string_n(path.data, path.size),
                            .data = memory_string_n(data.data, data.size),
                            .size = data.size};
    builder->bytes += data.size;
    return true;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct rules_file *)a)->path, ((const struct rules_file *)b)->path);
}

/* The size between path and contents keeps a file's end from passing for the next one's path. */
static void set_hash(struct rules_snapshot *snapshot)
{
    struct sha256 *digest = sha256_new();
    for (size_t i = 0; i < snapshot->n_files; i++) {
        const struct rules_file *file = &snapshot->files[i];
        struct buffer head = {0};
        buffer_append(&head, file->path, strlen(file->path) + 1);
        buffer_append_be64(&head, file->size);
        sha256_add(digest, buffer_bytes(&head));
        sha256_add(digest, bytes_of(file->data, file->size));
        buffer_free(&head);
    }
    sha256_finish(digest, snapshot->hash);
}

struct rules_snapshot *snapshot_builder_end(struct snapshot_builder *builder, bool ok,
                                            struct error *err)
{
    struct rules_snapshot *snapshot = builder->snapshot;
    builder->snapshot = NULL;
    if (ok && snapshot->n_files == 0)
        ok = error_set(err, "no Lua files");
    if (ok) {
        snapshot->files =
            memory_resize(snapshot->files, snapshot->n_files * sizeof *snapshot->files);
        qsort(snapshot->files, snapshot->n_files, sizeof *snapshot->files, by_path);
        for (size_t i = 1; i < snapshot->n_files && ok; i++) {
            if (strcmp(snapshot->files[i - 1].path, snapshot->files[i].path) == 0)
                ok = error_set(err, "%s: given twice", snapshot->files[i].path);
        }
    }
    if (!ok) {
        rules_snapshot_free(snapshot);
        return NULL;
    }
    set_hash(snapshot);
    return snapshot;
}

enum path_verdict snapshot_path_verdict(struct bytes path)
{
    bool hidden = false;
    struct bytes rest = path;
    for (;;) {
        const char *slash = rest.size ? memchr(rest.data, '/', rest.size) : NULL;
        struct bytes part = bytes_of(rest.data, slash ? (size_t)(slash - rest.data) : rest.size);
        if (part.size == 0 || bytes_equal(part, bytes_of_string(".")) ||
            bytes_equal(part, bytes_of_string("..")) || memchr(part.data, '\0', part.size))
            return PATH_REFUSED;
        hidden = hidden || part.data[0] == '.';
        if (!slash)
            return !hidden && rules_is_lua_name(part) ? PATH_LUA : PATH_IGNORED;
        rest = bytes_of(slash + 1, rest.size - part.size - 1);
    }
}

/* ---- from a directory ---- */

/* Appends the whole file; `size_max` ends files that grow while they are read. */
static bool read_to_end(int fd, size_t size_max, struct buffer *data, struct error *err)
{
    for (;;) {
        char *end = buffer_reserve(data, 65536);
        ssize_t size = read(fd, end, 65536);
        if (size == 0)
            return true;
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return error_set(err, "%s", strerror(errno));
        data->size += (size_t)size;
        if (data->size > size_max)
            return error_set(err, "more than %zu bytes", size_max);
    }
}

static bool read_file(const struct walk_file *file, void *arg, struct error *err)
{
    struct snapshot_builder *builder = arg;
    struct buffer data = {0};
    bool ok = false;
    /* A pipe put in the file's place must not stop the program. */
    int fd = open(file->full_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        error_set(err, "%s: %s", file->full_path, strerror(errno));
        goto out;
    }
    if (!read_to_end(fd, SNAPSHOT_BYTES_MAX, &data, err)) {
        error_context(err, "%s", file->full_path);
        goto out;
    }
    ok = snapshot_builder_add(builder, bytes_of_string(file->path), buffer_bytes(&data), err);
out:
    if (fd >= 0)
        close(fd);
    buffer_free(&data);
    return ok;
}

static struct rules_snapshot *read_once(const char *dir, struct error *err)
{
    struct snapshot_builder builder;
    snapshot_builder_begin(&builder);
    bool ok = rules_walk(dir, read_file, &builder, err);
    return snapshot_builder_end(&builder, ok, err);
}

/* A directory may be swapped for another while it is read; only what two reads in a row agree about
 * is one state of it. */
struct rules_snapshot *rules_snapshot_read(const char *dir, struct error *err)
{
    struct rules_snapshot *before = read_once(dir, err);
    for (int i = 1; i < READS_MAX; i++) {
        struct rules_snapshot *now = read_once(dir, err);
        bool same = before && now ? strcmp(before->hash, now->hash) == 0 : before == now;
        rules_snapshot_free(before);
        if (same) {
            if (!now)
                error_context(err, "rules in %s", dir);
            return now;
        }
        before = now;
    }
    rules_snapshot_free(before);
    error_set(err, "rules in %s: the files change all the time", dir);
    return NULL;
}

/* ---- the rest ---- */

struct rules_snapshot *rules_snapshot_copy(const struct rules_snapshot *snapshot)
{
    struct rules_snapshot *copy = memory_zero(1, sizeof *copy);
    memcpy(copy->hash, snapshot->hash, sizeof copy->hash);
    copy->files = memory_zero(snapshot->n_files, sizeof *copy->files);
    copy->n_files = snapshot->n_files;
    for (size_t i = 0; i < snapshot->n_files; i++) {
        const struct rules_file *file = &snapshot->files[i];
        copy->files[i] = (struct rules_file){.path = memory_string(file->path),
                                             .data = memory_string_n(file->data, file->size),
                                             .size = file->size};
    }
    return copy;
}

void rules_snapshot_free(struct rules_snapshot *snapshot)
{
    if (!snapshot)
        return;
    for (size_t i = 0; i < snapshot->n_files; i++) {
        free(snapshot->files[i].path);
        free(snapshot->files[i].data);
    }
    free(snapshot->files);
    free(snapshot);
}
