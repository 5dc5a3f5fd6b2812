#include "store/libpq_error.h"

#include <stddef.h>

bool libpq_error(struct error *err, const char *message)
{
    char line[sizeof err->text];
    size_t size = 0;
    for (const char *at = message; *at && size < sizeof line - 2; at++) {
        if (*at == '\n' && at[1] && at[1] != '\t')
            line[size++] = ';';
        bool blank = *at == '\n' || *at == '\t' || *at == ' ';
        if (!blank || (size && line[size - 1] != ' '))
            line[size++] = blank ? ' ' : *at;
    }
    while (size && line[size - 1] == ' ')
        size--;
    return error_set(err, "%.*s", (int)size, line);
}
