/* How the readers of a snapshot (directory, archive, JSON) put it together. */
#ifndef RULES_SNAPSHOT_BUILDER_H
#define RULES_SNAPSHOT_BUILDER_H

#include "rules/snapshot.h"

#define SNAPSHOT_FILES_MAX 1000
#define SNAPSHOT_BYTES_MAX ((size_t)8 * 1024 * 1024)

struct snapshot_builder {
    struct rules_snapshot *snapshot;
    size_t bytes; /* of all contents */
};

void snapshot_builder_begin(struct snapshot_builder *builder);
/* Copies both. False when the snapshot would become too large, or the file is not UTF-8 text: it
 * could not be kept as JSON. */
bool snapshot_builder_add(struct snapshot_builder *builder, struct bytes path, struct bytes data,
                          struct error *err) __attribute__((warn_unused_result));
/* Sorts, looks for paths given twice, names the whole by its hash. With `ok` false, or on failure,
 * everything is freed and NULL returned. */
struct rules_snapshot *snapshot_builder_end(struct snapshot_builder *builder, bool ok,
                                            struct error *err);

/* What becomes of a path that comes from outside. */
enum path_verdict {
    PATH_LUA,     /* belongs into a snapshot */
    PATH_IGNORED, /* no *.lua, or hidden */
    PATH_REFUSED, /* absolute, or climbs with "..", or has empty or "." parts */
};
enum path_verdict snapshot_path_verdict(struct bytes path);

#endif
