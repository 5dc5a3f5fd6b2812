#include "app/archive.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

void archive_init(struct archive *archive, struct control *control,
                  void (*on_behind)(const struct error *err, void *arg),
                  void (*on_caught_up)(void *arg), void *arg)
{
    *archive = (struct archive){
        .control = control, .on_behind = on_behind, .on_caught_up = on_caught_up, .arg = arg};
}

void archive_destroy(struct archive *archive)
{
    archive_let_go(archive);
    history_clear(&archive->history);
    rules_snapshot_free(archive->unsaved);
}

/* ---- what was rolled back ---- */

static struct held_back *find_held_back(struct archive *archive, const char *hash)
{
    for (size_t i = 0; i < archive->n_held_back; i++)
        if (strcmp(archive->held_back[i].hash, hash) == 0)
            return &archive->held_back[i];
    return NULL;
}

bool archive_is_held_back(const struct archive *archive, const char *hash)
{
    return find_held_back((struct archive *)(uintptr_t)archive, hash) != NULL;
}

static void remove_held_back(struct archive *archive, size_t index)
{
    rules_snapshot_free(archive->held_back[index].files);
    archive->n_held_back--;
    memmove(&archive->held_back[index], &archive->held_back[index + 1],
            (archive->n_held_back - index) * sizeof archive->held_back[0]);
}

static struct held_back *add_held_back(struct archive *archive, const char *hash)
{
    struct held_back *known = find_held_back(archive, hash);
    if (known)
        remove_held_back(archive, (size_t)(known - archive->held_back));
    if (archive->n_held_back == HELD_BACK_MAX)
        remove_held_back(archive, 0);
    struct held_back *added = &archive->held_back[archive->n_held_back++];
    *added = (struct held_back){.is_marked = true};
    snprintf(added->hash, sizeof added->hash, "%s", hash);
    return added;
}

void archive_let_go(struct archive *archive)
{
    while (archive->n_held_back > 0)
        remove_held_back(archive, archive->n_held_back - 1);
}

/* ---- what the database holds ---- */

static bool is_published(const struct stored_generation *stored)
{
    return strcmp(stored->state, "published") == 0;
}

/* Files that no older row has were put into force by an edit, not by a rollback. */
static bool is_edit(const struct stored_generation *stored, size_t n, size_t index)
{
    for (size_t i = index + 1; i < n; i++)
        if (strcmp(stored[i].hash, stored[index].hash) == 0)
            return false;
    return true;
}

static void append_to_history(struct archive *archive, const struct stored_generation *stored)
{
    struct error err = {""};
    struct rules_snapshot *snapshot = rules_snapshot_from_json(stored->files_json, &err);
    if (snapshot)
        history_append(&archive->history, snapshot);
    else
        log_warn("rules", "rule_generations row %lld is unreadable: %s", (long long)stored->id,
                 err.text);
}

void archive_take_stored(struct archive *archive, const struct stored_generation *stored, size_t n)
{
    bool is_let_go = false;
    archive->is_known = true;
    archive_let_go(archive);
    history_clear(&archive->history);
    if (n > 0)
        snprintf(archive->newest_saved, sizeof archive->newest_saved, "%s", stored[0].hash);
    for (size_t i = 0; i < n; i++) {
        if (is_published(&stored[i])) {
            append_to_history(archive, &stored[i]);
            is_let_go = is_let_go || is_edit(stored, n, i);
        } else if (!is_let_go && !history_has(&archive->history, stored[i].hash)) {
            add_held_back(archive, stored[i].hash);
        }
    }
}

/* ---- writing ---- */

static void on_written(bool ok, const struct error *err, void *arg);

static void save(struct archive *archive, const struct rules_snapshot *files)
{
    struct buffer json = {0};
    rules_snapshot_to_json(files, &json);
    control_save_generation(archive->control, files->hash, buffer_bytes(&json), on_written,
                            archive);
    buffer_free(&json);
}

static void note_saved(struct archive *archive)
{
    struct held_back *held = find_held_back(archive, archive->writing);
    snprintf(archive->newest_saved, sizeof archive->newest_saved, "%s", archive->writing);
    if (held) {
        rules_snapshot_free(held->files);
        held->files = NULL;
    } else if (archive->unsaved && strcmp(archive->unsaved->hash, archive->writing) == 0) {
        rules_snapshot_free(archive->unsaved);
        archive->unsaved = NULL;
    }
}

static void on_written(bool ok, const struct error *err, void *arg)
{
    struct archive *archive = arg;
    archive->is_writing = false;
    if (!ok) {
        log_warn("rules", "not recorded in rule_generations yet that %.12s was %s: %s",
                 archive->writing, archive->is_marking ? "rolled back" : "published", err->text);
        archive->on_behind(err, archive->arg);
        return;
    }
    struct held_back *held = find_held_back(archive, archive->writing);
    if (!archive->is_marking)
        note_saved(archive);
    else if (held)
        held->is_marked = true;
    archive_catch_up(archive);
    if (!archive->is_writing)
        archive->on_caught_up(archive->arg);
}

static void begin(struct archive *archive, const char *hash, bool is_marking)
{
    archive->is_writing = true;
    archive->is_marking = is_marking;
    snprintf(archive->writing, sizeof archive->writing, "%s", hash);
}

/* What was rolled back comes first: the newest row is then the current generation. */
void archive_catch_up(struct archive *archive)
{
    if (archive->is_writing)
        return;
    for (size_t i = 0; i < archive->n_held_back; i++) {
        struct held_back *held = &archive->held_back[i];
        if (held->is_marked)
            continue;
        begin(archive, held->hash, !held->files);
        if (held->files)
            save(archive, held->files);
        else
            control_mark_generation(archive->control, held->hash, "rolled_back", on_written,
                                    archive);
        return;
    }
    if (!archive->unsaved)
        return;
    begin(archive, archive->unsaved->hash, false);
    save(archive, archive->unsaved);
}

bool archive_is_behind(const struct archive *archive)
{
    for (size_t i = 0; i < archive->n_held_back; i++)
        if (!archive->held_back[i].is_marked)
            return true;
    return archive->unsaved != NULL;
}

void archive_record(struct archive *archive, const struct rules_snapshot *files)
{
    rules_snapshot_free(archive->unsaved);
    archive->unsaved = strcmp(archive->newest_saved, files->hash) == 0 && !archive->is_writing
                           ? NULL
                           : rules_snapshot_copy(files);
    archive_catch_up(archive);
}

void archive_hold_back(struct archive *archive, const struct rules_snapshot *files)
{
    bool is_saved = strcmp(archive->newest_saved, files->hash) == 0;
    struct held_back *held = find_held_back(archive, files->hash);
    if (held && held->is_marked)
        return;
    held = add_held_back(archive, files->hash);
    held->is_marked = false;
    held->files = is_saved ? NULL : rules_snapshot_copy(files);
    if (archive->unsaved && strcmp(archive->unsaved->hash, files->hash) == 0) {
        rules_snapshot_free(archive->unsaved);
        archive->unsaved = NULL;
    }
    archive_catch_up(archive);
}
