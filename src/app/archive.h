/* The generations that were, in memory and in rule_generations: what a rollback and a start with
 * broken files can reach, and which files an operator has rolled back. What is to be written is
 * written one after another, and again until the database has it. Main thread. */
#ifndef APP_ARCHIVE_H
#define APP_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>

#include "app/history.h"
#include "store/control.h"

#define HELD_BACK_MAX HISTORY_MAX

/* Files that were rolled back. */
struct held_back {
    char hash[SHA256_HEX_SIZE];
    struct rules_snapshot *files; /* until the database has a row of them; NULL: it has */
    bool is_marked;               /* that row says that they were rolled back */
};

struct archive {
    struct control *control;
    /* A write failed: archive_catch_up() wants to be called later. */
    void (*on_behind)(const struct error *err, void *arg);
    void (*on_caught_up)(void *arg); /* the database lacks nothing any more */
    void *arg;

    bool is_known;                             /* rule_generations was read */
    struct history history;                    /* what a rollback can reach */
    struct held_back held_back[HELD_BACK_MAX]; /* newest last */
    size_t n_held_back;
    struct rules_snapshot *unsaved;     /* the current generation, until it is recorded */
    char newest_saved[SHA256_HEX_SIZE]; /* hash of the newest row of rule_generations, "" unknown */

    bool is_writing;
    char writing[SHA256_HEX_SIZE]; /* the hash that is being written */
    bool is_marking;               /* its state, not its files */
};

void archive_init(struct archive *archive, struct control *control,
                  void (*on_behind)(const struct error *err, void *arg),
                  void (*on_caught_up)(void *arg), void *arg);
/* After control_free(). */
void archive_destroy(struct archive *archive);

/* Takes over what rule_generations holds, newest first. */
void archive_take_stored(struct archive *archive, const struct stored_generation *stored, size_t n);

/* These files are current, and they fit the database. */
void archive_record(struct archive *archive, const struct rules_snapshot *files);
/* An operator has rolled these files back. */
void archive_hold_back(struct archive *archive, const struct rules_snapshot *files);
bool archive_is_held_back(const struct archive *archive, const char *hash);
/* Other files are in force: nothing is held back any more. */
void archive_let_go(struct archive *archive);

/* True when the database lacks something. */
bool archive_is_behind(const struct archive *archive);
/* Writes what it lacks. */
void archive_catch_up(struct archive *archive);

#endif
