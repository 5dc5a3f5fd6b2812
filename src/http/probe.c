#include "http/probe.h"

#include <string.h>

static void append_reasons(const struct buffer *reasons, struct buffer *json)
{
    const char *line = reasons->data;
    const char *end = line + reasons->size;
    const char *comma = "";
    buffer_append_string(json, ",\"reasons\":[");
    while (line < end) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop)
            stop = end;
        if (stop > line) {
            buffer_append_string(json, comma);
            buffer_append_json(json, bytes_of(line, (size_t)(stop - line)));
            comma = ",";
        }
        line = stop + 1;
    }
    buffer_append_byte(json, ']');
}

int probe_ready(bool ready, const struct buffer *reasons, struct buffer *json)
{
    bool has_reasons = reasons->size > 0;
    const char *status = ready ? has_reasons ? "degraded" : "ready" : "unavailable";
    buffer_printf(json, "{\"status\":\"%s\"", status);
    if (has_reasons)
        append_reasons(reasons, json);
    else if (!ready)
        buffer_append_string(json, ",\"reasons\":[]");
    buffer_append_byte(json, '}');
    return ready ? 200 : 503;
}
