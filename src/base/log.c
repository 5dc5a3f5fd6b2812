#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/utf8.h"

#define MESSAGE_BYTES_MAX   4096
#define COMPONENT_BYTES_MAX 128
/* No byte becomes more than the six of "\u0000". */
#define LINE_BYTES_MAX (6 * (MESSAGE_BYTES_MAX + COMPONENT_BYTES_MAX) + 256)

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static enum log_level threshold = LOG_INFO;
static bool as_json = false;

void log_setup(enum log_level level, bool json)
{
    threshold = level;
    as_json = json;
}

bool log_enabled(enum log_level level)
{
    return level >= threshold;
}

static void append_time(struct buffer *line)
{
    int64_t now_ms = clock_realtime_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    buffer_printf(line, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", utc.tm_year + 1900, utc.tm_mon + 1,
                  utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, (int)(now_ms % 1000));
}

/* U+0080 to U+009F are control characters too: terminals obey them. */
static bool is_control(struct bytes text, size_t size)
{
    unsigned char first = (unsigned char)text.data[0];
    if (size == 1)
        return first < 0x20 || first == 0x7f;
    return first == 0xc2 && (unsigned char)text.data[1] < 0xa0;
}

static void append_hex(struct buffer *line, struct bytes bytes)
{
    for (size_t i = 0; i < bytes.size; i++)
        buffer_printf(line, "\\x%02x", (unsigned char)bytes.data[i]);
}

static void append_escaped(struct buffer *line, struct bytes text)
{
    while (text.size > 0) {
        size_t size = utf8_char_size(text);
        bool plain = size > 0 && !is_control(text, size);
        size = size > 0 ? size : 1;
        if (plain)
            buffer_append(line, text.data, size);
        else if (text.data[0] == '\n')
            buffer_append_string(line, "\\n");
        else
            append_hex(line, bytes_of(text.data, size));
        text = bytes_of(text.data + size, text.size - size);
    }
}

static void make_text(struct buffer *line, enum log_level level, struct bytes component,
                      struct bytes message)
{
    append_time(line);
    buffer_printf(line, " %-5s [", level_names[level]);
    append_escaped(line, component);
    buffer_append_string(line, "] ");
    append_escaped(line, message);
    buffer_append_byte(line, '\n');
}

static void make_json(struct buffer *line, enum log_level level, struct bytes component,
                      struct bytes message)
{
    buffer_append_string(line, "{\"time\":\"");
    append_time(line);
    buffer_printf(line, "\",\"level\":\"%s\",\"component\":", level_names[level]);
    buffer_append_json(line, component);
    buffer_append_string(line, ",\"message\":");
    buffer_append_json(line, message);
    buffer_append_string(line, "}\n");
}

/* A log that cannot be written to is no reason to stop and leaves nowhere to say so. */
static void write_all(struct bytes line)
{
    while (line.size > 0) {
        ssize_t written = write(STDERR_FILENO, line.data, line.size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return;
        line = bytes_of(line.data + written, line.size - (size_t)written);
    }
}

/* `more`: what is said behind the text. */
static void write_line(enum log_level level, const char *component, const char *more,
                       const char *format, va_list args)
{
    int saved_errno = errno;
    char message[MESSAGE_BYTES_MAX];
    size_t room = sizeof message - strlen(more);
    int size = vsnprintf(message, room, format, args);
    if (size < 0)
        snprintf(message, room, "(cannot format \"%s\")", format);
    else if ((size_t)size >= room)
        memcpy(message + room - 4, "...", 4);
    memcpy(message + strlen(message), more, strlen(more) + 1);

    /* A buffer that is large enough never allocates: memory_die() logs through here. */
    char memory[LINE_BYTES_MAX];
    struct buffer line = {.data = memory, .capacity = sizeof memory};
    struct bytes name = bytes_of(component, strnlen(component, COMPONENT_BYTES_MAX));
    if (as_json)
        make_json(&line, level, name, bytes_of_string(message));
    else
        make_text(&line, level, name, bytes_of_string(message));
    write_all(buffer_bytes(&line));
    errno = saved_errno;
}

void log_write(enum log_level level, const char *component, const char *format, ...)
{
    if (!log_enabled(level))
        return;
    va_list args;
    va_start(args, format);
    write_line(level, component, "", format, args);
    va_end(args);
}

bool log_limit_pass(struct log_limit *limit, int64_t interval_ms, uint64_t *held_back)
{
    int64_t now_us = clock_monotonic_us();
    if (now_us < limit->next_us) {
        limit->held_back++;
        return false;
    }
    *held_back = limit->held_back;
    limit->held_back = 0;
    limit->next_us = now_us + interval_ms * 1000;
    return true;
}

void log_limited(struct log_limit *limit, int64_t interval_ms, enum log_level level,
                 const char *component, const char *format, ...)
{
    uint64_t held_back;
    char more[48] = "";
    if (!log_enabled(level) || !log_limit_pass(limit, interval_ms, &held_back))
        return;
    if (held_back > 0)
        snprintf(more, sizeof more, " (%" PRIu64 " more like it)", held_back);
    va_list args;
    va_start(args, format);
    write_line(level, component, more, format, args);
    va_end(args);
}
