#include "ingest/readiness.h"

static void add_trouble(struct buffer *out, const char *trouble)
{
    if (*trouble)
        buffer_printf(out, "%s\n", trouble);
}

void readiness_describe(const struct readiness *readiness, struct buffer *out)
{
    if (!writer_is_ready(readiness->writer))
        buffer_printf(out, "PostgreSQL: %s\n", writer_trouble(readiness->writer));
    if (!readiness->has_schema)
        add_trouble(out, "the schema of the database is not known yet");
    if (!consumer_is_connected(readiness->consumer))
        add_trouble(out, "Kafka: no broker is connected");
    add_trouble(out, consumer_trouble(readiness->consumer));
    add_trouble(out, placement_trouble(readiness->placement));
    add_trouble(out, delivery_trouble(readiness->delivery));
    holds_describe(readiness->holds, out);
}
