#include "rules/walk.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "base/buffer.h"

/* Against links that lead in a circle. */
#define DEPTH_MAX   16
#define ENTRIES_MAX 20000

struct walk {
    walk_visitor visit;
    void *arg;
    struct buffer full_path; /* the entry that is looked at */
    size_t dir_size;         /* how much of it is the directory, with the '/' behind it */
    int entries;
    struct error *err;
};

bool rules_is_lua_name(struct bytes name)
{
    return name.size > 4 && memcmp(name.data + name.size - 4, ".lua", 4) == 0;
}

static void cut_path(struct walk *walk, size_t size)
{
    walk->full_path.size = size;
    walk->full_path.data[size] = '\0';
}

static bool fail(struct walk *walk, const char *why)
{
    return error_set(walk->err, "%s: %s", walk->full_path.data, why);
}

static bool walk_folder(struct walk *walk, int depth);

/* walk->full_path names the entry. */
static bool walk_entry(struct walk *walk, int depth)
{
    struct stat stat_now;
    const char *path = walk->full_path.data + walk->dir_size;
    bool is_lua = rules_is_lua_name(bytes_of_string(path));
    if (stat(walk->full_path.data, &stat_now) != 0)
        return !is_lua || fail(walk, strerror(errno));
    if (S_ISDIR(stat_now.st_mode)) {
        buffer_append_byte(&walk->full_path, '/');
        return walk_folder(walk, depth + 1);
    }
    if (!is_lua)
        return true;
    if (!S_ISREG(stat_now.st_mode))
        return fail(walk, "not a regular file");
    struct walk_file file = {.path = path, .full_path = walk->full_path.data, .stat = &stat_now};
    return walk->visit(&file, walk->arg, walk->err);
}

/* walk->full_path names the folder and ends with '/'. */
static bool walk_folder(struct walk *walk, int depth)
{
    if (depth > DEPTH_MAX)
        return fail(walk, "folders are too deep (a link that leads in a circle?)");
    DIR *folder = opendir(walk->full_path.data);
    if (!folder)
        return fail(walk, strerror(errno));
    bool ok = true;
    size_t size = walk->full_path.size;
    const struct dirent *entry;
    while (ok && (errno = 0, entry = readdir(folder))) {
        if (entry->d_name[0] == '.')
            continue;
        buffer_append_string(&walk->full_path, entry->d_name);
        if (++walk->entries > ENTRIES_MAX)
            ok = fail(walk, "too many files (a link that leads in a circle?)");
        else
            ok = walk_entry(walk, depth);
        cut_path(walk, size);
    }
    if (ok && errno != 0)
        ok = fail(walk, strerror(errno));
    closedir(folder);
    return ok;
}

bool rules_walk(const char *dir, walk_visitor visit, void *arg, struct error *err)
{
    struct walk walk = {.visit = visit, .arg = arg, .err = err};
    buffer_printf(&walk.full_path, "%s/", dir);
    walk.dir_size = walk.full_path.size;
    bool ok = walk_folder(&walk, 0);
    buffer_free(&walk.full_path);
    return ok;
}
