/* What was read where: ingest_offsets.marks (migrations/009_ingest_marks.sql). */
#ifndef STORE_MARKS_H
#define STORE_MARKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"

/* A message, by what tells it from another one at its offset. */
struct mark {
    bool is_set;
    int64_t offset;
    int64_t time_ms; /* of the message, as Kafka has it; -1: none */
    int64_t hash;    /* of key and payload */
};

struct marks {
    struct mark recent;
    struct mark oldest; /* that Kafka is known to have; perhaps the recent one */
};

/* bigint[] as text, "{10,1700000000000,-5,0,1690000000000,7}", both ways; "" or less than six
 * numbers: none is set. */
struct marks marks_parse(const char *text);
void marks_write(const struct marks *marks, struct buffer *out);

#endif
