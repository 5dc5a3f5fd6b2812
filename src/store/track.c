#include "store/track.h"

#include "base/buffer.h"

char *track_by_text(const struct table_def *table)
{
    struct buffer text = {0};
    for (size_t i = 0; i < table->track.n_by; i++) {
        buffer_append_string(&text, i == 0 ? "{\"" : ",\"");
        for (const char *at = table->columns[table->track.by[i]].name; *at; at++) {
            if (*at == '"' || *at == '\\')
                buffer_append_byte(&text, '\\');
            buffer_append_byte(&text, *at);
        }
        buffer_append_byte(&text, '"');
    }
    buffer_append_byte(&text, '}');
    return text.data;
}
