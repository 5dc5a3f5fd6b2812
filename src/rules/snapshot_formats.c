/* Snapshots out of ustar archives and out of and into JSON. */
#include <jansson.h>
#include <string.h>

#include "rules/snapshot.h"
#include "rules/snapshot_builder.h"
#include "rules/walk.h"

/* ---- ustar ---- */

#define TAR_BLOCK 512

/* POSIX.1-1988 with the ustar fields; numbers are octal text. */
struct tar_header {
    char name[100];
    char mode[8];
    char uid[8];
    char gid[8];
    char size[12];
    char mtime[12];
    char checksum[8];
    char type;
    char link_name[100];
    char magic[6];
    char version[2];
    char owner[32];
    char group[32];
    char device_major[8];
    char device_minor[8];
    char prefix[155];
    char padding[12];
};

_Static_assert(sizeof(struct tar_header) == TAR_BLOCK, "a tar header is one block");

/* Octal digits, with spaces before and a space or NUL behind them. */
static bool read_octal(struct bytes field, size_t *number)
{
    size_t at = 0;
    size_t value = 0;
    bool digits = false;
    while (at < field.size && field.data[at] == ' ')
        at++;
    for (; at < field.size && field.data[at] >= '0' && field.data[at] <= '7'; at++) {
        value = value * 8 + (size_t)(field.data[at] - '0');
        digits = true;
    }
    *number = value;
    return digits && (at == field.size || field.data[at] == ' ' || field.data[at] == '\0');
}

/* The checksum counts its own field as spaces. */
static bool checksum_is_right(const struct tar_header *header)
{
    const unsigned char *block = (const unsigned char *)header;
    size_t field_start = offsetof(struct tar_header, checksum);
    size_t field_end = field_start + sizeof header->checksum;
    size_t sum = 0;
    size_t expected;
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += i >= field_start && i < field_end ? ' ' : block[i];
    return read_octal(bytes_of(header->checksum, sizeof header->checksum), &expected) &&
           sum == expected;
}

static bool is_end(struct bytes rest)
{
    static const char zeros[TAR_BLOCK];
    return rest.size >= TAR_BLOCK && memcmp(rest.data, zeros, TAR_BLOCK) == 0;
}

/* prefix/name without "./" in front; GNU archives keep other things where the prefix is. */
static void read_name(const struct tar_header *header, struct buffer *name)
{
    bool posix = memcmp(header->magic, "ustar\0", sizeof header->magic) == 0;
    size_t prefix_size = posix ? strnlen(header->prefix, sizeof header->prefix) : 0;
    buffer_clear(name);
    if (prefix_size > 0) {
        buffer_append(name, header->prefix, prefix_size);
        buffer_append_byte(name, '/');
    }
    buffer_append(name, header->name, strnlen(header->name, sizeof header->name));
    while (name->size > 2 && memcmp(name->data, "./", 2) == 0) {
        memmove(name->data, name->data + 2, name->size - 1);
        name->size -= 2;
    }
}

/* A record "17 path=long name\n" in an extended header names the next file otherwise than its own
 * header does. */
static bool renames(struct bytes extended)
{
    return memmem(extended.data, extended.size, " path=", 6) != NULL;
}

static bool add_member(struct snapshot_builder *builder, struct bytes name, struct bytes data,
                       struct error *err)
{
    switch (snapshot_path_verdict(name)) {
    case PATH_LUA:
        return snapshot_builder_add(builder, name, data, err);
    case PATH_IGNORED:
        return true;
    case PATH_REFUSED:
        break;
    }
    return error_set(err, "\"%.*s\": expected a path inside the archive", (int)name.size,
                     name.data);
}

/* One member by its kind: files are added, folders passed over, other things are errors where they
 * would be read as rules. */
static bool read_member(struct snapshot_builder *builder, char type, struct bytes name,
                        struct bytes data, struct error *err)
{
    switch (type) {
    case '0':
    case '\0':
        return add_member(builder, name, data, err);
    case '5':
        return true;
    case 'x':
    case 'g':
        return !renames(data) || error_set(err, "names of more than 100 characters: expected an "
                                                "archive made with --format=ustar");
    case 'L':
    case 'K':
        return error_set(err, "names of more than 100 characters: expected an archive made with "
                              "--format=ustar");
    default:
        return !rules_is_lua_name(name) ||
               error_set(err, "%.*s: expected a file, not a link or a device", (int)name.size,
                         name.data);
    }
}

/* The header at byte `at`, its checksum verified, and the size of the file behind it. */
static const struct tar_header *read_header(struct bytes tar, size_t at, size_t *size,
                                            struct error *err)
{
    const struct tar_header *header = (const void *)(tar.data + at);
    if (tar.size - at >= TAR_BLOCK && memcmp(header->magic, "ustar", 5) == 0 &&
        checksum_is_right(header) && read_octal(bytes_of(header->size, sizeof header->size), size))
        return header;
    error_set(err, "byte %zu: expected the header of a file in an uncompressed ustar archive", at);
    return NULL;
}

static bool read_archive(struct snapshot_builder *builder, struct bytes tar, struct buffer *name,
                         struct error *err)
{
    size_t at = 0;
    while (at < tar.size && !is_end(bytes_of(tar.data + at, tar.size - at))) {
        size_t size;
        const struct tar_header *header = read_header(tar, at, &size, err);
        if (!header)
            return false;
        at += TAR_BLOCK;
        read_name(header, name);
        if (size > tar.size - at)
            return error_set(err, "%s: the archive ends inside this file", name->data);
        struct bytes data = bytes_of(tar.data + at, size);
        if (!read_member(builder, header->type, buffer_bytes(name), data, err))
            return false;
        size_t padded = (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
        at += padded < tar.size - at ? padded : tar.size - at;
    }
    return true;
}

struct rules_snapshot *rules_snapshot_from_tar(struct bytes tar, struct error *err)
{
    struct snapshot_builder builder;
    struct buffer name = {0};
    snapshot_builder_begin(&builder);
    bool ok = read_archive(&builder, tar, &name, err);
    buffer_free(&name);
    struct rules_snapshot *snapshot = snapshot_builder_end(&builder, ok, err);
    if (!snapshot)
        error_context(err, "archive");
    return snapshot;
}

/* ---- JSON ---- */

void rules_snapshot_to_json(const struct rules_snapshot *snapshot, struct buffer *out)
{
    buffer_append_byte(out, '{');
    for (size_t i = 0; i < snapshot->n_files; i++) {
        const struct rules_file *file = &snapshot->files[i];
        if (i > 0)
            buffer_append_byte(out, ',');
        buffer_append_json(out, bytes_of_string(file->path));
        buffer_append_byte(out, ':');
        buffer_append_json(out, bytes_of(file->data, file->size));
    }
    buffer_append_byte(out, '}');
}

static bool add_members(struct snapshot_builder *builder, json_t *object, struct error *err)
{
    const char *path;
    json_t *text;
    json_object_foreach (object, path, text) {
        struct bytes data = bytes_of(json_string_value(text), json_string_length(text));
        if (!data.data)
            return error_set(err, "%s: expected its text as a string", path);
        if (snapshot_path_verdict(bytes_of_string(path)) != PATH_LUA)
            return error_set(err, "\"%s\": expected the relative path of a Lua file", path);
        if (!snapshot_builder_add(builder, bytes_of_string(path), data, err))
            return false;
    }
    return true;
}

struct rules_snapshot *rules_snapshot_from_json(struct bytes json, struct error *err)
{
    json_error_t trouble;
    json_t *object =
        json_loadb(json.data ? json.data : "", json.size, JSON_REJECT_DUPLICATES, &trouble);
    if (!json_is_object(object)) {
        error_set(err, "files: expected a JSON object {path: text}%s%s", object ? "" : ": ",
                  object ? "" : trouble.text);
        json_decref(object);
        return NULL;
    }
    struct snapshot_builder builder;
    snapshot_builder_begin(&builder);
    bool ok = add_members(&builder, object, err);
    json_decref(object);
    struct rules_snapshot *snapshot = snapshot_builder_end(&builder, ok, err);
    if (!snapshot)
        error_context(err, "files");
    return snapshot;
}
