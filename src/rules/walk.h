/* The files that rules are made of, found in a directory: *.lua at any depth, through links; names
 * that begin with a dot are left out, folders too. Blocking: main thread only. */
#ifndef RULES_WALK_H
#define RULES_WALK_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/error.h"

struct walk_file {
    const char *path;        /* relative to the directory, with '/' */
    const char *full_path;   /* to open it by */
    const struct stat *stat; /* of the file itself, not of a link */
};

/* False stops the walk, with `err` set. */
typedef bool (*walk_visitor)(const struct walk_file *file, void *arg, struct error *err);

/* Visits in no particular order. False: the directory or a Lua file could not be looked at, or
 * `visit` returned false. */
bool rules_walk(const char *dir, walk_visitor visit, void *arg, struct error *err)
    __attribute__((warn_unused_result));

/* True for a name that ends with ".lua" and is more than that. */
bool rules_is_lua_name(struct bytes name);

#endif
