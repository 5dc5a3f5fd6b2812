#include "store/conninfo.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "store/libpq_error.h"

/* One place of the connection string's host list. */
struct place {
    char *host;    /* "" : libpq's default socket */
    char *address; /* hostaddr as given; "" when not */
    char *port;
    bool is_name; /* must be looked up */
};

struct conninfo {
    PQconninfoOption *options;
    struct place *places;
    size_t n_places;
    const char **names;
};

/* An entry of the lists that libpq gets; all borrowed. */
struct entry {
    const char *host;
    const char *address;
    const char *port;
};

/* ---- parsing ---- */

static const char *option_value(const PQconninfoOption *options, const char *keyword)
{
    for (const PQconninfoOption *option = options; option && option->keyword; option++)
        if (strcmp(option->keyword, keyword) == 0)
            return option->val && *option->val ? option->val : NULL;
    return NULL;
}

static size_t count_items(const char *list)
{
    size_t n = 1;
    for (const char *at = list; at && *at; at++)
        n += *at == ',';
    return n;
}

/* Item `index` of a comma list as libpq reads it: a list of one serves all. */
static char *list_item(const char *list, size_t index)
{
    if (!list)
        return memory_string("");
    if (count_items(list) == 1)
        return memory_string(list);
    const char *start = list;
    for (size_t i = 0; i < index; i++) {
        start = strchr(start, ',');
        if (!start)
            return memory_string("");
        start++;
    }
    return memory_string_n(start, strcspn(start, ","));
}

static bool is_name(const struct place *place)
{
    unsigned char scratch[sizeof(struct in6_addr)];
    if (*place->address || !*place->host || *place->host == '/' || *place->host == '@')
        return false;
    return inet_pton(AF_INET, place->host, scratch) != 1 &&
           inet_pton(AF_INET6, place->host, scratch) != 1;
}

static void fill_places(struct conninfo *info, const PQconninfoOption *defaults)
{
    const char *host = option_value(info->options, "host");
    const char *address = option_value(info->options, "hostaddr");
    const char *port = option_value(info->options, "port");
    if (!host && !address) {
        host = option_value(defaults, "host");
        address = option_value(defaults, "hostaddr");
    }
    if (!port)
        port = option_value(defaults, "port");
    info->n_places = count_items(host ? host : address);
    info->places = memory_zero(info->n_places, sizeof *info->places);
    info->names = memory_zero(info->n_places, sizeof *info->names);
    for (size_t i = 0; i < info->n_places; i++) {
        struct place *place = &info->places[i];
        place->host = host ? list_item(host, i) : memory_string("");
        place->address = address ? list_item(address, i) : memory_string("");
        place->port = list_item(port, i);
        place->is_name = is_name(place);
        info->names[i] = place->is_name ? place->host : NULL;
    }
}

struct conninfo *conninfo_parse(const char *text, struct error *err)
{
    char *message = NULL;
    PQconninfoOption *options = PQconninfoParse(text, &message);
    if (!options) {
        libpq_error(err, message ? message : "out of memory");
        error_context(err, "the connection string cannot be read");
        PQfreemem(message);
        return NULL;
    }
    PQconninfoOption *defaults = PQconndefaults();
    struct conninfo *info = memory_zero(1, sizeof *info);
    info->options = options;
    fill_places(info, defaults);
    PQconninfoFree(defaults);
    return info;
}

void conninfo_free(struct conninfo *info)
{
    if (!info)
        return;
    for (size_t i = 0; i < info->n_places; i++) {
        free(info->places[i].host);
        free(info->places[i].address);
        free(info->places[i].port);
    }
    free(info->places);
    free(info->names);
    PQconninfoFree(info->options);
    free(info);
}

const char *const *conninfo_names(const struct conninfo *info, size_t *n)
{
    *n = info->n_places;
    return info->names;
}

bool conninfo_needs_lookup(const struct conninfo *info)
{
    for (size_t i = 0; i < info->n_places; i++)
        if (info->places[i].is_name)
            return true;
    return false;
}

/* ---- what libpq gets ---- */

static size_t collect_entries(const struct conninfo *info, const struct resolved_host *answers,
                              struct entry **entries)
{
    size_t n = 0;
    for (size_t i = 0; i < info->n_places; i++)
        n += info->places[i].is_name && answers ? answers[i].n_addresses : 1;
    *entries = memory_zero(n, sizeof **entries);
    n = 0;
    for (size_t i = 0; i < info->n_places; i++) {
        const struct place *place = &info->places[i];
        if (!place->is_name) {
            (*entries)[n++] = (struct entry){place->host, place->address, place->port};
            continue;
        }
        for (size_t j = 0; answers && j < answers[i].n_addresses; j++)
            (*entries)[n++] = (struct entry){place->host, answers[i].addresses[j], place->port};
    }
    return n;
}

static void join_entries(const struct entry *entries, size_t n, size_t first,
                         struct connect_params *params)
{
    struct buffer hosts = {0}, addresses = {0}, ports = {0};
    for (size_t i = 0; i < n; i++) {
        const struct entry *entry = &entries[(first + i) % n];
        const char *comma = i ? "," : "";
        buffer_printf(&hosts, "%s%s", comma, entry->host);
        buffer_printf(&addresses, "%s%s", comma, entry->address);
        buffer_printf(&ports, "%s%s", comma, entry->port);
    }
    params->hosts = hosts.data;
    params->addresses = addresses.data;
    params->ports = ports.data;
}

static void add_param(struct connect_params *params, size_t *n, const char *keyword,
                      const char *value)
{
    params->keywords[*n] = keyword;
    params->values[*n] = value;
    ++*n;
}

static bool any_address(const struct entry *entries, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (*entries[i].address)
            return true;
    return false;
}

static size_t count_options(const PQconninfoOption *options)
{
    size_t n = 0;
    while (options[n].keyword)
        n++;
    return n;
}

static void fill_params(const struct conninfo *info, const char *application_name,
                        bool has_addresses, struct connect_params *params)
{
    static const char *const ours[] = {"host",   "hostaddr", "port", "application_name",
                                       "dbname", NULL};
    size_t capacity = count_options(info->options) + 8, n = 0;
    params->keywords = memory_zero(capacity, sizeof *params->keywords);
    params->values = memory_zero(capacity, sizeof *params->values);
    add_param(params, &n, "host", params->hosts);
    if (has_addresses)
        add_param(params, &n, "hostaddr", params->addresses);
    add_param(params, &n, "port", params->ports);
    add_param(params, &n, "application_name", application_name);
    add_param(params, &n, "dbname", option_value(info->options, "dbname"));
    for (const PQconninfoOption *option = info->options; option->keyword; option++) {
        size_t i = 0;
        while (ours[i] && strcmp(ours[i], option->keyword) != 0)
            i++;
        if (!ours[i] && option->val && *option->val)
            add_param(params, &n, option->keyword, option->val);
    }
    add_param(params, &n, "client_encoding", "UTF8");
}

bool conninfo_build(const struct conninfo *info, const struct resolved_host *answers, size_t first,
                    const char *application_name, struct connect_params *params, struct error *err)
{
    *params = (struct connect_params){0};
    struct entry *entries = NULL;
    size_t n = collect_entries(info, answers, &entries);
    if (!n) {
        free(entries);
        for (size_t i = 0; i < info->n_places; i++)
            if (info->places[i].is_name)
                return error_set(err, "%s", answers ? answers[i].err.text : "names not resolved");
        return error_set(err, "the connection string names no host");
    }
    join_entries(entries, n, first, params);
    fill_params(info, application_name, any_address(entries, n), params);
    free(entries);
    return true;
}

void connect_params_free(struct connect_params *params)
{
    free(params->keywords);
    free(params->values);
    free(params->hosts);
    free(params->addresses);
    free(params->ports);
    *params = (struct connect_params){0};
}
