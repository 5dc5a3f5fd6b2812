/* The topics that the rules read are those that the consumer subscribes to, also after a reload. */
#ifndef INGEST_SUBSCRIPTION_H
#define INGEST_SUBSCRIPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/consumer.h"
#include "rules/generation.h"

struct subscription {
    uint64_t generation; /* whose topics these are; 0: none yet */
    char **topics;
    size_t n_topics;
};

/* Looks whether the rules have changed and subscribes anew where their topics have. */
void subscription_follow(struct subscription *subscription, struct rules_registry *rules,
                         struct consumer *consumer);
void subscription_free(struct subscription *subscription);

#endif
