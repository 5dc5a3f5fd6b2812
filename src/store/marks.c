#include "store/marks.h"

#include <inttypes.h>
#include <stdlib.h>

enum { NUMBERS = 6 }; /* of both marks */

struct marks marks_parse(const char *text)
{
    int64_t numbers[NUMBERS];
    for (int i = 0; i < NUMBERS; i++) {
        char *end = NULL;
        if (*text != '{' && *text != ',')
            return (struct marks){0};
        numbers[i] = strtoll(text + 1, &end, 10);
        if (end == text + 1)
            return (struct marks){0};
        text = end;
    }
    return (struct marks){.recent = {true, numbers[0], numbers[1], numbers[2]},
                          .oldest = {true, numbers[3], numbers[4], numbers[5]}};
}

static void write_mark(const struct mark *mark, struct buffer *out)
{
    buffer_printf(out, "%" PRId64 ",%" PRId64 ",%" PRId64, mark->offset, mark->time_ms, mark->hash);
}

void marks_write(const struct marks *marks, struct buffer *out)
{
    if (!marks->recent.is_set || !marks->oldest.is_set)
        return;
    buffer_append_string(out, "{");
    write_mark(&marks->recent, out);
    buffer_append_string(out, ",");
    write_mark(&marks->oldest, out);
    buffer_append_string(out, "}");
}
