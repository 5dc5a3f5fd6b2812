#include "ingest/stop.h"

#include "base/log.h"
#include "base/memory.h"

#define COMPONENT "ingest"
#define LEAVE_MS  1000 /* of the time to stop, for leaving the group */

#define AFTER(state) (1u << (state))

static const struct {
    const char *name;
    unsigned next;
} STATES[] = {
    [STOP_RUNNING] = {"running", AFTER(STOP_DRAINING)},
    [STOP_DRAINING] = {"draining", AFTER(STOP_ANNOUNCING)},
    [STOP_ANNOUNCING] = {"announcing", AFTER(STOP_LEAVING)},
    [STOP_LEAVING] = {"leaving", AFTER(STOP_STOPPED)},
    [STOP_STOPPED] = {"stopped", 0},
};

static void set_state(struct stop *stop, enum stop_state state)
{
    if (!(STATES[stop->state].next & AFTER(state)))
        die("worker: %s may not follow %s", STATES[state].name, STATES[stop->state].name);
    log_debug(COMPONENT, "worker %d is %s", stop->worker, STATES[state].name);
    stop->state = state;
}

void stop_begin(struct stop *stop, int timeout_ms, int64_t now_ms)
{
    if (stop->state != STOP_RUNNING)
        return;
    /* A little earlier than the process, which then still sees it end. */
    stop->deadline_ms = now_ms + timeout_ms - timeout_ms / 10;
    set_state(stop, STOP_DRAINING);
}

static void announce(struct stop *stop, bool drained)
{
    if (!drained)
        log_warn(COMPONENT,
                 "worker %d stops with messages that are not stored; they will be "
                 "read again",
                 stop->worker);
    counts_say_saved(stop->counts, true);
    announce_all(stop->announce);
    set_state(stop, STOP_ANNOUNCING);
}

static void leave(struct stop *stop, bool deaf)
{
    if (deaf)
        log_info(COMPONENT, "worker %d stops without a word to Kafka, which does not answer",
                 stop->worker);
    else
        consumer_close(stop->consumer);
    set_state(stop, STOP_LEAVING);
}

void stop_step(struct stop *stop, bool drained, int64_t now_ms)
{
    int64_t left_ms = stop->deadline_ms - now_ms;
    /* Kafka need not be awaited: what counts is in PostgreSQL, and the group finds out by itself.
     */
    bool deaf = consumer_is_silent(stop->consumer);
    if (stop->state == STOP_DRAINING && (drained || left_ms <= LEAVE_MS))
        announce(stop, drained);
    if (stop->state == STOP_ANNOUNCING &&
        (consumer_commits_in_flight(stop->consumer) == 0 || deaf || left_ms <= LEAVE_MS / 2))
        leave(stop, deaf);
    if (stop->state == STOP_LEAVING && (consumer_is_closed(stop->consumer) || deaf || left_ms <= 0))
        set_state(stop, STOP_STOPPED);
}
