#include "ingest/subscription.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"

#define COMPONENT "ingest"

static bool has(char *const *topics, size_t n_topics, const char *topic)
{
    for (size_t i = 0; i < n_topics; i++)
        if (strcmp(topics[i], topic) == 0)
            return true;
    return false;
}

/* Each topic once: several streams may read one. */
static char **list_topics(const struct rules_generation *generation, size_t *n_topics)
{
    const struct rules_def *def = rules_generation_def(generation);
    char **topics = memory_zero(def->n_streams + 1, sizeof(*topics));
    *n_topics = 0;
    for (size_t i = 0; i < def->n_streams; i++)
        if (!generation->resting[i] && !has(topics, *n_topics, def->streams[i].topic))
            topics[(*n_topics)++] = memory_string(def->streams[i].topic);
    return topics;
}

static void free_topics(char **topics, size_t n_topics)
{
    for (size_t i = 0; i < n_topics; i++)
        free(topics[i]);
    free(topics);
}

static bool are_same(const struct subscription *subscription, char *const *topics, size_t n_topics)
{
    if (subscription->n_topics != n_topics)
        return false;
    for (size_t i = 0; i < n_topics; i++)
        if (!has(subscription->topics, subscription->n_topics, topics[i]))
            return false;
    return true;
}

static void change(struct subscription *subscription, struct consumer *consumer, char **topics,
                   size_t n_topics)
{
    free_topics(subscription->topics, subscription->n_topics);
    subscription->topics = topics;
    subscription->n_topics = n_topics;

    struct error err;
    if (!consumer_subscribe(consumer, (const char *const *)topics, n_topics, &err))
        log_error(COMPONENT, "%s", err.text);
    for (size_t i = 0; i < n_topics; i++)
        log_info(COMPONENT, "subscribed to %s", topics[i]);
    if (n_topics == 0)
        log_warn(COMPONENT, "the rules have no streams: nothing is consumed");
}

void subscription_follow(struct subscription *subscription, struct rules_registry *rules,
                         struct consumer *consumer)
{
    if (rules_registry_number(rules) == subscription->generation)
        return;
    struct rules_generation *generation = rules_registry_acquire(rules);
    if (!generation)
        return;

    size_t n_topics;
    char **topics = list_topics(generation, &n_topics);
    if (subscription->generation == 0 || !are_same(subscription, topics, n_topics))
        change(subscription, consumer, topics, n_topics);
    else
        free_topics(topics, n_topics);
    subscription->generation = generation->number;
    rules_registry_release(rules, generation);
}

void subscription_free(struct subscription *subscription)
{
    free_topics(subscription->topics, subscription->n_topics);
    *subscription = (struct subscription){0};
}
