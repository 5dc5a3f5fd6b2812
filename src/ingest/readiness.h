/* Whether a worker does its work, as /readyz tells it. */
#ifndef INGEST_READINESS_H
#define INGEST_READINESS_H

#include <stdbool.h>

#include "base/buffer.h"
#include "ingest/consumer.h"
#include "ingest/delivery.h"
#include "ingest/hold.h"
#include "ingest/placement.h"
#include "store/writer.h"

struct readiness {
    const struct writer *writer;
    const struct consumer *consumer;
    const struct placement *placement;
    const struct delivery *delivery;
    const struct holds *holds;
    bool has_schema;
};

/* Appends what keeps it from working, one a line; nothing when it is ready. */
void readiness_describe(const struct readiness *readiness, struct buffer *out);

#endif
