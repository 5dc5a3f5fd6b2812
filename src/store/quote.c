#include "store/quote.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void quote_identifier(struct buffer *out, const char *identifier)
{
    buffer_append_byte(out, '"');
    for (const char *at = identifier; *at; at++) {
        if (*at == '"')
            buffer_append_byte(out, '"');
        buffer_append_byte(out, *at);
    }
    buffer_append_byte(out, '"');
}

void quote_table(struct buffer *out, const char *name)
{
    const char *dot = strchr(name, '.');
    if (dot) {
        char *schema = memory_string_n(name, (size_t)(dot - name));
        quote_identifier(out, schema);
        buffer_append_byte(out, '.');
        free(schema);
    }
    quote_identifier(out, dot ? dot + 1 : name);
}
