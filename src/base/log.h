/* One line a call on stderr, text or JSON:
 *
 *   2026-11-25T03:00:00.123Z info  [ingest] partition market_data/3 assigned at offset 1044
 *   {"time":"2026-11-25T03:00:00.123Z","level":"info","component":"ingest","message":"..."}
 *
 * Any thread; a line is written with one write(2), so lines never mix. Control characters are
 * escaped: a message from outside cannot forge a line. Messages are cut at 4,095 bytes. Never log
 * payloads, tokens or passwords. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Before the other threads start. The default is LOG_INFO, text. */
void log_setup(enum log_level level, bool json);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *component, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_debug(component, ...) log_write(LOG_DEBUG, component, __VA_ARGS__)
#define log_info(component, ...)  log_write(LOG_INFO, component, __VA_ARGS__)
#define log_warn(component, ...)  log_write(LOG_WARN, component, __VA_ARGS__)
#define log_error(component, ...) log_write(LOG_ERROR, component, __VA_ARGS__)

/* Lets one line through per interval and counts what it held back. One owner thread;
 * zero-initialised is ready. */
struct log_limit {
    int64_t next_us;    /* monotonic: before this, nothing passes */
    uint64_t held_back; /* since the last line that passed */
};

/* True when a line may be written now; `*held_back` then says how many were held back before it. */
bool log_limit_pass(struct log_limit *limit, int64_t interval_ms, uint64_t *held_back);
/* log_write() when the limit lets it pass; where lines were held back before it, it ends with
 * " (N more like it)". */
void log_limited(struct log_limit *limit, int64_t interval_ms, enum log_level level,
                 const char *component, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

#endif
