/* librdkafka's configuration: what this service must have, what the settings say, what
 * KAFKA_CONFIG_FILE adds. */
#ifndef INGEST_KAFKA_CONF_H
#define INGEST_KAFKA_CONF_H

#include <librdkafka/rdkafka.h>

#include "base/error.h"
#include "config/settings.h"

/* A configuration for worker `number` without callbacks. NULL with `err` naming file, line and
 * property. Reads the file: before the event loop starts. */
rd_kafka_conf_t *kafka_conf_new(const struct settings *settings, int number, struct error *err)
    __attribute__((warn_unused_result));

#endif
