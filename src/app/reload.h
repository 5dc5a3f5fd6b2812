/* Reload as a transaction: read once, build, check against the live schema, run the examples,
 * publish; or keep what is there and say why. Everything here belongs to the main thread; what it
 * publishes reaches the others through the registry.
 *
 *   STARTING ── rule_generations read, or out of reach ──▶ a request begins
 *   IDLE ── request: files read, states built, examples run ──▶ CHECKING ── schema read ──▶
 * published or failed ──▶ IDLE
 *
 * With the database away, the schema last seen decides; a generation published without any is
 * checked as soon as the database answers. At start, files that are broken, do not fit or were
 * rolled back are passed over for the last good generation that the database holds. */
#ifndef APP_RELOAD_H
#define APP_RELOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "config/settings.h"
#include "metrics/metrics.h"
#include "rules/generation.h"
#include "store/control.h"

struct event_base;
struct reload;

enum reload_cause {
    RELOAD_START,
    RELOAD_FILES,    /* the watcher saw a change */
    RELOAD_SIGNAL,   /* SIGHUP */
    RELOAD_ADMIN,    /* POST /admin/rules/reload */
    RELOAD_ROLLBACK, /* POST /admin/rules/rollback, or a generation that turned out not to fit the
                        schema */
    RELOAD_TABLES,   /* the schema became known after the start, and streams rest whose tables exist
                      */
};

enum reload_outcome {
    RELOAD_PUBLISHED,
    RELOAD_UNCHANGED, /* the files are those of the current generation */
    RELOAD_HELD_BACK, /* the files were rolled back and have not changed since; only force publishes
                         them */
    RELOAD_FAILED,    /* the current generation stays */
};

struct reload_result {
    enum reload_outcome outcome;
    uint64_t generation;     /* the one that is current now, 0: none */
    const char *hash;        /* of the candidate; "" when it could not be read */
    const struct error *err; /* RELOAD_FAILED */
    /* What else was to be read again and could not be; or that a rollback is in force, but that the
     * database could not be told. NULL: nothing. */
    const struct error *trouble;
};

typedef void (*reload_done_cb)(const struct reload_result *result, void *arg);

struct reload_options {
    struct event_base *base;
    const struct settings *settings;
    struct metrics *metrics;
    struct rules_registry *registry;
    struct control *control;
    size_t n_slots;
    /* Just before and just after a generation is published, and when the schema was read again:
     * `schema` (to be held by who keeps it) covers the tables of both generations. Not called
     * before the database was first reached. */
    void (*on_schema)(struct schema *schema, void *arg);
    /* A generation was published, the current one from now on. May be NULL. */
    void (*on_published)(uint64_t generation, void *arg);
    /* SIGHUP or the admin listener asks for a reload: what else comes from files is read again too.
     * False with `err`: that failed; the rules are reloaded all the same. May be NULL. */
    bool (*on_asked)(struct error *err, void *arg);
    /* The start cannot be completed: no rules that work, or a schema that lacks a migration. */
    void (*on_fatal)(const struct error *err, void *arg);
    void *arg;
};

/* The limits and surroundings that rules run under, from the settings. */
struct rules_options reload_rules_options(const struct settings *settings, struct metrics *metrics);

struct reload *reload_new(const struct reload_options *options);
void reload_free(struct reload *reload);

/* The first generation; begins to watch the files. */
void reload_start(struct reload *reload);

/* Before the end: lets what is being written to rule_generations be written, for so long. Runs the
 * event loop; nothing may break it meanwhile. */
void reload_flush(struct reload *reload, int timeout_ms);

/* Asks for a reload; requests that arrive while one runs are answered by the one after it. `done`
 * may be NULL; it is called once, perhaps from inside this call; of a rollback when it is recorded
 * in rule_generations, or could not be. `force` publishes what was rolled
 * back or has not changed. */
void reload_request(struct reload *reload, enum reload_cause cause, bool force, reload_done_cb done,
                    void *arg);

/* {"generation":3,"hash":"...","publishedAt":1700000000000,"verified":true,"files":[...],"streams":[...],"endpoints":[...],
 *  "rollbackTo":"..."|null,"lastFailure":{"error","hash","cause","at"}|null} */
void reload_describe(const struct reload *reload, struct buffer *json);

/* The state, if any, of a rules generation that works: false with reasons when there is none yet.
 * Reasons are also appended, with true, when it runs degraded. Any thread. */
bool reload_is_ready(struct reload *reload, struct buffer *reasons);

#endif
