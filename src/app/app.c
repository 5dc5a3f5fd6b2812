#include "app/app.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "app/admin_rejected.h"
#include "app/admin_rules.h"
#include "app/notify.h"
#include "app/reload.h"
#include "app/upkeep.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "http/admin.h"
#include "http/server.h"
#include "ingest/worker.h"
#include "metrics/metrics.h"
#include "rules/generation.h"
#include "store/control.h"

#define REAP_MS         1000 /* retired generations are looked for */
#define FLUSH_RELOAD_MS 2000 /* a rollback is recorded before the end */

struct app {
    const struct settings *settings;
    struct event_base *base; /* main thread: admin, reload, signals */
    struct metrics *metrics;
    struct rules_registry *registry;
    struct control *control;
    struct reload *reload;
    struct admin_server *admin;
    struct admin_rules *admin_rules;
    struct admin_rejected *admin_rejected;
    struct http_server *http;       /* NULL with HTTP_THREADS=0 */
    struct upkeep *upkeep;          /* NULL with INGEST_WORKERS=0 */
    struct ingest_worker **workers; /* INGEST_WORKERS of them */
    atomic_size_t n_workers;        /* those that run; grows while the listeners already answer */
    struct event *signals[3];
    struct event *reap;
    int exit_code;
};

/* ---- readiness, asked by any thread ---- */

static bool is_ready(struct buffer *reasons, void *arg)
{
    struct app *app = arg;
    bool ready = reload_is_ready(app->reload, reasons);
    for (size_t i = 0; i < app->n_workers; i++)
        ready = ingest_worker_is_ready(app->workers[i], reasons) && ready;
    return ready;
}

/* ---- what happens while it runs ---- */

static void on_schema(struct schema *schema, void *arg)
{
    struct app *app = arg;
    for (size_t i = 0; i < app->n_workers; i++) {
        ingest_worker_set_schema(app->workers[i], schema);
        ingest_worker_nudge(app->workers[i]);
    }
}

/* The listeners are up by then: whoever waited for the service may use it. */
static void on_published(uint64_t generation, void *arg)
{
    (void)arg;
    char state[64];
    snprintf(state, sizeof state, "READY=1\nSTATUS=rules generation %" PRIu64, generation);
    notify_send(state);
}

static void on_fatal(const struct error *err, void *arg)
{
    struct app *app = arg;
    log_error("app", "cannot start: %s", err->text);
    app->exit_code = EXIT_OPERATOR;
    event_base_loopbreak(app->base);
}

/* A bad key file is said in the log and to who asked, and changes nothing; the rules are reloaded
 * all the same. What is paused is tried again, also when the files are what they were: the table
 * may be another. */
static bool on_asked(struct error *err, void *arg)
{
    struct app *app = arg;
    for (size_t i = 0; i < app->n_workers; i++)
        ingest_worker_nudge(app->workers[i]);
    return !app->http || http_server_reload(app->http, err);
}

static void on_signal(evutil_socket_t number, short events, void *arg)
{
    (void)events;
    struct app *app = arg;
    if (number == SIGHUP) {
        reload_request(app->reload, RELOAD_SIGNAL, false, NULL, NULL);
        return;
    }
    log_info("app", "%s: stopping", strsignal((int)number));
    event_base_loopbreak(app->base);
}

static void on_reap(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    struct app *app = arg;
    rules_registry_reap(app->registry);
}

/* ---- start ---- */

/* HTTP_MAX_CONNECTIONS is more than many systems give without being asked. What cannot be had is
 * left: then connections beyond it wait to be accepted. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_warn("app", "the limit of open files stays as it is: %s", strerror(errno));
}

static bool start_loop(struct app *app, struct error *err)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    struct timeval reap_every = {REAP_MS / 1000, REAP_MS % 1000 * 1000};

    signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    evthread_use_pthreads();
    app->base = event_base_new();
    if (!app->base)
        return error_set(err, "no event loop: out of file descriptors?");
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        app->signals[i] = evsignal_new(app->base, numbers[i], on_signal, app);
        event_add(app->signals[i], NULL);
    }
    app->reap = event_new(app->base, -1, EV_PERSIST, on_reap, app);
    event_add(app->reap, &reap_every);
    return true;
}

/* Before anything is promised to anybody: the runaway proofs, and both ports. */
static bool start_listeners(struct app *app, struct error *err)
{
    const struct settings *settings = app->settings;
    if (settings->http_threads > 0) {
        struct http_options options = {
            .settings = settings,
            .metrics = app->metrics,
            .rules = app->registry,
            .first_slot = 0,
            .is_ready = is_ready,
            .arg = app,
        };
        app->http = http_server_start(&options, err);
        if (!app->http)
            return false;
    }
    struct admin_options options = {
        .settings = settings,
        .metrics = app->metrics,
        .is_ready = is_ready,
        .arg = app,
    };
    app->admin = admin_server_start(app->base, &options, err);
    if (!app->admin)
        return false;
    app->admin_rules = admin_rules_register(app->admin, app->reload, app->control, settings);
    app->admin_rejected =
        admin_rejected_register(app->admin, app->base, app->registry, app->control, settings);
    return true;
}

static void make_reload(struct app *app, char *database)
{
    const struct settings *settings = app->settings;
    app->control = control_new(app->base, database, settings->db_connect_timeout_ms);
    struct reload_options options = {
        .base = app->base,
        .settings = settings,
        .metrics = app->metrics,
        .registry = app->registry,
        .control = app->control,
        .n_slots = (size_t)settings->http_threads + (size_t)settings->ingest_workers,
        .on_schema = on_schema,
        .on_published = on_published,
        .on_asked = on_asked,
        .on_fatal = on_fatal,
        .arg = app,
    };
    app->reload = reload_new(&options);
}

static bool start_workers(struct app *app, struct error *err)
{
    const struct settings *settings = app->settings;
    for (int i = 0; i < settings->ingest_workers; i++) {
        struct ingest_options options = {
            .settings = settings,
            .metrics = app->metrics,
            .rules = app->registry,
            .slot = (size_t)settings->http_threads + (size_t)i,
            .number = i,
        };
        struct ingest_worker *worker = ingest_worker_start(&options, err);
        if (!worker)
            return false;
        app->workers[i] = worker;
        atomic_fetch_add(&app->n_workers, 1);
    }
    return true;
}

static bool start(struct app *app, struct error *err)
{
    struct rules_options rules = reload_rules_options(app->settings, NULL);
    if (app->settings->ingest_workers > 0 && !ingest_check_settings(app->settings, err))
        return false;
    if (!rules_prove_limits(&rules, err))
        return error_context(err, "the limits on rules do not hold on this machine");
    if (!start_listeners(app, err) || !start_workers(app, err))
        return false;
    if (app->http)
        log_info("app", "listening on port %d, admin on port %d", http_server_port(app->http),
                 admin_server_port(app->admin));
    else
        log_info("app", "no HTTP (HTTP_THREADS=0), admin on port %d",
                 admin_server_port(app->admin));
    if (app->settings->ingest_workers > 0)
        app->upkeep =
            upkeep_start(app->base, app->settings, app->metrics, app->registry, app->control);
    reload_start(app->reload);
    return true;
}

/* ---- stop ---- */

/* Everything stops at once; whoever is not done by the deadline is left behind: offsets are in
 * PostgreSQL, nothing is lost. */
static void drain(struct app *app)
{
    int64_t deadline_ms = clock_monotonic_ms() + app->settings->shutdown_timeout_ms;
    notify_send("STOPPING=1");
    reload_flush(app->reload, FLUSH_RELOAD_MS);
    for (size_t i = 0; i < app->n_workers; i++)
        ingest_worker_stop(app->workers[i]);
    if (app->http)
        http_server_drain(app->http);

    bool clean = true;
    for (size_t i = 0; i < app->n_workers; i++) {
        int64_t left_ms = deadline_ms - clock_monotonic_ms();
        clean = ingest_worker_join(app->workers[i], left_ms > 0 ? (int)left_ms : 0) && clean;
    }
    if (app->http) {
        int64_t left_ms = deadline_ms - clock_monotonic_ms();
        clean = http_server_join(app->http, left_ms > 0 ? (int)left_ms : 0) && clean;
    }
    if (!clean) {
        log_warn("app",
                 "stopped by SHUTDOWN_TIMEOUT_MS; what was not written is read again from Kafka");
        _Exit(app->exit_code);
    }
    log_info("app", "stopped");
}

static void release(struct app *app, char *database)
{
    if (app->admin)
        admin_server_free(app->admin);
    admin_rules_free(app->admin_rules);
    reload_free(app->reload);
    control_free(app->control);
    upkeep_free(app->upkeep);
    admin_rejected_free(app->admin_rejected);
    rules_registry_free(app->registry);
    for (size_t i = 0; i < sizeof app->signals / sizeof app->signals[0]; i++)
        event_free(app->signals[i]);
    event_free(app->reap);
    event_base_free(app->base);
    free(app->workers);
    metrics_free(app->metrics);
    notify_close();
    free(database);
}

int app_run(const struct settings *settings)
{
    struct app app = {.settings = settings, .exit_code = EXIT_OK};
    struct error err = {""};

    notify_open();
    if (!start_loop(&app, &err)) {
        log_error("app", "cannot start: %s", err.text);
        return EXIT_OPERATOR;
    }
    char *changed = settings_describe(settings);
    log_info("app", "core-service " CS_VERSION "%s%s", changed[0] ? ", " : "", changed);
    free(changed);

    char *database = settings_database(settings);
    app.metrics = metrics_new();
    app.registry = rules_registry_new();
    app.workers = memory_zero((size_t)settings->ingest_workers + 1, sizeof *app.workers);
    make_reload(&app, database);
    if (start(&app, &err)) {
        event_base_dispatch(app.base);
    } else {
        log_error("app", "cannot start: %s", err.text);
        app.exit_code = EXIT_OPERATOR;
    }
    drain(&app);
    release(&app, database);
    return app.exit_code;
}
