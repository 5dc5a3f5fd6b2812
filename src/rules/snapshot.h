/* All files of a rules directory, read once: what a generation is made of, what its hash names,
 * what `require` finds. */
#ifndef RULES_SNAPSHOT_H
#define RULES_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"

struct rules_file {
    char *path; /* relative, with '/': "streams/market_data_v2.lua" */
    char *data; /* NUL-terminated */
    size_t size;
};

struct rules_snapshot {
    struct rules_file *files; /* sorted by path; *.lua only, hidden files and folders left out */
    size_t n_files;
    char hash[SHA256_HEX_SIZE]; /* over paths and contents */
};

/* Reads `dir` through links, until two reads in a row agree. At most 1,000 files and 8 MiB, all of
 * it UTF-8 text. Blocking: main thread only. NULL with `err`. */
struct rules_snapshot *rules_snapshot_read(const char *dir, struct error *err)
    __attribute__((warn_unused_result));

/* The same from an uncompressed ustar archive (POST /admin/rules/check). Names that are absolute or
 * climb with ".." are errors, so are Lua files that are links. */
struct rules_snapshot *rules_snapshot_from_tar(struct bytes tar, struct error *err)
    __attribute__((warn_unused_result));

/* As one JSON object {"path": "text", ...} and back: how rule_generations keeps it. */
void rules_snapshot_to_json(const struct rules_snapshot *snapshot, struct buffer *out);
struct rules_snapshot *rules_snapshot_from_json(struct bytes json, struct error *err)
    __attribute__((warn_unused_result));

struct rules_snapshot *rules_snapshot_copy(const struct rules_snapshot *snapshot);
/* NULL is accepted. */
void rules_snapshot_free(struct rules_snapshot *snapshot);

#endif
