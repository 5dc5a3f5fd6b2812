#include "metrics/escape.h"

#include "base/utf8.h"

void metrics_append_escaped(struct buffer *out, const char *text, bool quote)
{
    struct bytes rest = bytes_of_string(text);
    while (rest.size > 0) {
        size_t size = utf8_char_size(rest);
        if (size == 0)
            buffer_append_string(out, "\xef\xbf\xbd");
        else if (rest.data[0] == '\n')
            buffer_append_string(out, "\\n");
        else if (rest.data[0] == '\\' || (quote && rest.data[0] == '"'))
            buffer_printf(out, "\\%c", rest.data[0]);
        else
            buffer_append(out, rest.data, size);
        size = size ? size : 1;
        rest = bytes_of(rest.data + size, rest.size - size);
    }
}
