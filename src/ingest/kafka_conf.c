#include "ingest/kafka_conf.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "base/memory.h"

/* What the promises of this service rest on; KAFKA_CONFIG_FILE may not change it. */
static const struct {
    const char *name;
    const char *value; /* NULL: comes from the settings */
} FIXED[] = {
    {"group.id", NULL},
    {"enable.auto.commit", "false"}, /* offsets live in PostgreSQL */
    {"enable.auto.offset.store", "false"},
    {"auto.offset.reset", "error"},                        /* nothing ever jumps silently */
    {"enable.partition.eof", "true"},                      /* "read to its end" */
    {"isolation.level", "read_committed"},                 /* aborted messages never were */
    {"partition.assignment.strategy", "range,roundrobin"}, /* eager: worker.c counts on it */
};

/* What is only a better default here. */
static const struct {
    const char *name;
    const char *value;
} DEFAULTS[] = {
    {"topic.metadata.refresh.interval.ms", "10000"}, /* a topic made later is found soon */
    {"reconnect.backoff.max.ms", "2000"},
    {"session.timeout.ms", "10000"}, /* so long a killed member keeps its partitions from others */
    {"statistics.interval.ms", "2000"}, /* tells which brokers are connected */
    {"log.connection.close", "false"},  /* idle connections end: no news */
    {"socket.keepalive.enable", "true"},
};

static bool is_fixed(const char *name)
{
    for (size_t i = 0; i < sizeof(FIXED) / sizeof(FIXED[0]); i++)
        if (strcmp(FIXED[i].name, name) == 0)
            return true;
    return false;
}

static bool set(rd_kafka_conf_t *conf, const char *name, const char *value, struct error *err)
{
    char why[512];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) == RD_KAFKA_CONF_OK)
        return true;
    return error_set(err, "%s", why);
}

static bool set_number(rd_kafka_conf_t *conf, const char *name, long number, struct error *err)
{
    char text[24];
    snprintf(text, sizeof(text), "%ld", number);
    return set(conf, name, text, err);
}

static bool set_defaults(rd_kafka_conf_t *conf, struct error *err)
{
    for (size_t i = 0; i < sizeof(DEFAULTS) / sizeof(DEFAULTS[0]); i++)
        if (!set(conf, DEFAULTS[i].name, DEFAULTS[i].value, err))
            return false;
    return true;
}

/* librdkafka holds `prefetch_bytes` in its queue, and one answer of each broker beside it. */
static bool set_memory(rd_kafka_conf_t *conf, const struct settings *settings, struct error *err)
{
    long prefetch = settings->prefetch_bytes;
    long kilobytes = prefetch / 1024 > 0 ? prefetch / 1024 : 1;
    long fetch = prefetch < 1000000 ? 1000000 : prefetch; /* librdkafka wants one message to fit */
    return set_number(conf, "queued.max.messages.kbytes", kilobytes, err) &&
           set_number(conf, "fetch.max.bytes", fetch, err) &&
           set_number(conf, "receive.message.max.bytes",
                      fetch > 100000000 ? fetch + 512 : 100000000, err);
}

static bool set_settings(rd_kafka_conf_t *conf, const struct settings *settings, int number,
                         struct error *err)
{
    char *client_id = memory_printf("%s-%d", settings->kafka_client_id, number);
    bool ok = set(conf, "bootstrap.servers", settings->kafka_brokers, err) &&
              set(conf, "client.id", client_id, err) && set_memory(conf, settings, err);
    free(client_id);
    return ok;
}

static bool set_fixed(rd_kafka_conf_t *conf, const struct settings *settings, struct error *err)
{
    for (size_t i = 0; i < sizeof(FIXED) / sizeof(FIXED[0]); i++) {
        const char *value = FIXED[i].value ? FIXED[i].value : settings->kafka_group_id;
        if (!set(conf, FIXED[i].name, value, err))
            return false;
    }
    return true;
}

static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t size = strlen(text);
    while (size > 0 && isspace((unsigned char)text[size - 1]))
        text[--size] = '\0';
    return text;
}

static bool set_line(rd_kafka_conf_t *conf, char *line, struct error *err)
{
    char *name = trim(line);
    if (*name == '\0' || *name == '#')
        return true;

    char *equals = strchr(name, '=');
    if (!equals)
        return error_set(err, "expected name=value");
    *equals = '\0';
    name = trim(name);
    if (is_fixed(name))
        return error_set(err, "%s is set by this service", name);
    return set(conf, name, trim(equals + 1), err);
}

static bool set_file(rd_kafka_conf_t *conf, const char *path, struct error *err)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(err, "KAFKA_CONFIG_FILE: %s: %s", path, strerror(errno));

    char *line = NULL;
    size_t capacity = 0;
    bool ok = true;
    for (int number = 1; ok && getline(&line, &capacity, file) >= 0; number++) {
        ok = set_line(conf, line, err);
        if (!ok)
            error_context(err, "KAFKA_CONFIG_FILE: %s:%d", path, number);
    }
    if (ok && ferror(file))
        ok = error_set(err, "KAFKA_CONFIG_FILE: %s: %s", path, strerror(errno));
    free(line);
    fclose(file);
    return ok;
}

rd_kafka_conf_t *kafka_conf_new(const struct settings *settings, int number, struct error *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    bool has_file = settings->kafka_config_file && *settings->kafka_config_file;
    if (set_defaults(conf, err) && set_settings(conf, settings, number, err) &&
        (!has_file || set_file(conf, settings->kafka_config_file, err)) &&
        set_fixed(conf, settings, err))
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}
