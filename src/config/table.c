#include "config/table.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROUP(heading)                                                                             \
    {                                                                                              \
        .kind = SETTING_GROUP, .name = (heading)                                                   \
    }
#define FIELD(field) .offset = offsetof(struct settings, field)
#define INT(field, variable, value, low, high, text)                                               \
    {                                                                                              \
        .kind = SETTING_INT, .name = (variable), FIELD(field), .initial = (value), .min = (low),   \
        .max = (high), .help = (text)                                                              \
    }
#define TEXT(field, variable, value, text)                                                         \
    {                                                                                              \
        .kind = SETTING_TEXT, .name = (variable), FIELD(field), .initial = (value), .help = (text) \
    }
#define SECRET(field, variable, text)                                                              \
    {                                                                                              \
        .kind = SETTING_TEXT, .name = (variable), FIELD(field), .initial = "", .secret = true,     \
        .help = (text)                                                                             \
    }
#define CHOICE(field, variable, value, list, text)                                                 \
    {                                                                                              \
        .kind = SETTING_CHOICE, .name = (variable), FIELD(field), .initial = (value),              \
        .choices = (list), .help = (text)                                                          \
    }
#define RULES(variable, text)                                                                      \
    {                                                                                              \
        .kind = SETTING_RULES, .name = (variable), .initial = "", .help = (text)                   \
    }

#define HOUR_MS 3600000
#define KIB     1024
#define MIB     (1024 * KIB)

/* clang-format off */
const struct setting settings_table[] = {
    GROUP("HTTP"),
    INT(port, "PORT", "8000", 0, 65535, "port of the API; 0 takes any free one and logs it"),
    TEXT(host, "HOST", "0.0.0.0", "address that the API listens on"),
    INT(http_threads, "HTTP_THREADS", "2", 0, 64, "threads that serve the API; 0: no API"),
    INT(http_max_connections, "HTTP_MAX_CONNECTIONS", "10000", 1, 1000000,
        "open connections at most"),
    INT(http_max_in_flight, "HTTP_MAX_IN_FLIGHT", "512", 1, 100000,
        "requests being answered at most; beyond that 503 at once"),
    INT(http_max_header_bytes, "HTTP_MAX_HEADER_BYTES", "16384", KIB, MIB,
        "size of a request's head at most, URI included"),
    INT(http_max_body_bytes, "HTTP_MAX_BODY_BYTES", "65536", 0, 64 * MIB,
        "size of a request's body at most"),
    INT(http_request_timeout_ms, "HTTP_REQUEST_TIMEOUT_MS", "10000", 100, HOUR_MS,
        "within this head and body must have arrived"),
    INT(http_idle_timeout_ms, "HTTP_IDLE_TIMEOUT_MS", "65000", 100, HOUR_MS,
        "an idle kept-alive connection is closed after this"),
    {.kind = SETTING_TEXT, .name = "CORS_ORIGINS", FIELD(cors_origins), .initial = "*",
     .may_be_empty = true,
     .help = "origins that browsers may ask from, a comma list; empty: no CORS headers"},
    TEXT(admin_host, "ADMIN_HOST", "127.0.0.1", "address of the admin listener"),
    INT(admin_port, "ADMIN_PORT", "8001", 0, 65535,
        "port of the admin listener; 0 takes any free one and logs it"),
    SECRET(admin_token, "ADMIN_TOKEN",
           "bearer token of the admin listener; required unless ADMIN_HOST is loopback"),

    GROUP("PostgreSQL"),
    SECRET(database_url, "DATABASE_URL",
           "postgresql://user:password@host:port/name; wins over DB_*"),
    TEXT(db_host, "DB_HOST", "localhost", "host, or directory of the socket"),
    INT(db_port, "DB_PORT", "5432", 1, 65535, "port"),
    TEXT(db_name, "DB_NAME", "postgres", "database"),
    TEXT(db_user, "DB_USER", "postgres", "user"),
    SECRET(db_password, "DB_PASSWORD", "password"),
    INT(db_pool_size, "DB_POOL_SIZE", "2", 1, 64, "connections of each HTTP thread"),
    INT(db_connect_timeout_ms, "DB_CONNECT_TIMEOUT_MS", "5000", 100, HOUR_MS,
        "within this a connection must stand"),
    INT(db_statement_timeout_ms, "DB_STATEMENT_TIMEOUT_MS", "5000", 1, HOUR_MS,
        "longest query of the API"),
    INT(db_write_timeout_ms, "DB_WRITE_TIMEOUT_MS", "60000", 100, HOUR_MS,
        "longest statement of ingest"),

    GROUP("Kafka and ingest"),
    TEXT(kafka_brokers, "KAFKA_BROKERS", "localhost:9092", "brokers, a comma list of host:port"),
    TEXT(kafka_client_id, "KAFKA_CLIENT_ID", "core-service", "name shown to the brokers"),
    {.kind = SETTING_TEXT, .name = "MARKET_CONSUMER_GROUP_ID", .alias = "KAFKA_GROUP_ID",
     FIELD(kafka_group_id), .initial = "core-service-market-consumer", .help = "consumer group"},
    TEXT(kafka_config_file, "KAFKA_CONFIG_FILE", "",
         "file of librdkafka properties (SASL, TLS), one name=value a line"),
    RULES("MARKET_DATA_TOPIC", "topic of market data"),
    RULES("NEWS_TOPIC", "topic of news"),
    RULES("INSIGHTS_TOPIC", "topic of insights"),
    INT(ingest_workers, "INGEST_WORKERS", "1", 0, 64, "threads that store messages; 0: no ingest"),
    INT(batch_size, "MARKET_CONSUMER_BATCH_SIZE", "10000", 1, 1000000,
        "messages in one batch at most"),
    INT(batch_bytes, "INGEST_BATCH_BYTES", "16777216", KIB, 1024 * MIB,
        "bytes of payload in one batch at most"),
    INT(flush_ms, "MARKET_CONSUMER_FLUSH_MS", "1000", 0, HOUR_MS,
        "the latest moment at which a gathered message is sent"),
    INT(message_max_bytes, "INGEST_MESSAGE_MAX_BYTES", "1048576", 1, 256 * MIB,
        "larger messages are rejected unread"),
    INT(prefetch_bytes, "INGEST_PREFETCH_BYTES", "16777216", KIB, 1024 * MIB,
        "bytes that each worker fetches ahead at most"),
    INT(revoke_wait_ms, "REVOKE_WAIT_MS", "5000", 0, HOUR_MS,
        "a write in flight gets this long when its partition is revoked"),
    INT(ledger_floor_ms, "LEDGER_FLOOR_MS", "60000", 100, HOUR_MS,
        "so often the ledger is compared with what retention has deleted"),
    INT(shutdown_timeout_ms, "SHUTDOWN_TIMEOUT_MS", "10000", 0, HOUR_MS,
        "after SIGTERM open work gets this long"),

    GROUP("Rules"),
    TEXT(lua_dir, "LUA_DIR", NULL, "directory of the rules, with init.lua"),
    INT(rules_load_ms, "RULES_LOAD_MS", "1000", 1, HOUR_MS,
        "CPU time to load all rules into one Lua state"),
    INT(rules_map_ms, "RULES_MAP_MS", "50", 1, HOUR_MS, "CPU time of one call of map()"),
    INT(rules_request_ms, "RULES_REQUEST_MS", "50", 1, HOUR_MS,
        "CPU time of one call of request() or params()"),
    INT(rules_reply_ms, "RULES_REPLY_MS", "200", 1, HOUR_MS, "CPU time of one call of reply()"),
    INT(rules_memory_bytes, "RULES_MEMORY_BYTES", "67108864", MIB, 1024 * MIB,
        "memory of each Lua state at most"),
    INT(rules_watch_ms, "RULES_WATCH_MS", "500", 0, HOUR_MS,
        "between two looks for changed files; 0: files are not watched"),
    TEXT(rules_env, "RULES_ENV", "", "further variables that cs.env may read, a comma list"),

    GROUP("Access"),
    SECRET(jwt_secret, "JWT_SECRET", "key of HS256 tokens; turns authentication on"),
    TEXT(jwt_public_key_file, "JWT_PUBLIC_KEY_FILE", "",
         "PEM or JWKS file for RS256 and ES256 tokens; turns authentication on"),
    CHOICE(jwt_algorithm, "JWT_ALGORITHM", "", "HS256, RS256, ES256",
           "the only accepted one, empty: as the key says"),
    TEXT(jwt_issuer, "JWT_ISSUER", "", "tokens must come from this issuer"),
    TEXT(jwt_audience, "JWT_AUDIENCE", "", "tokens must be meant for this audience"),
    INT(jwt_clock_skew_s, "JWT_CLOCK_SKEW_S", "60", 0, 3600,
        "seconds by which clocks may differ when a token's times are checked"),
    {.kind = SETTING_DOUBLE, .name = "RATE_LIMIT_RPS", FIELD(rate_limit_rps), .initial = "0",
     .min = 0, .max = 1000000, .help = "requests a second for each client; 0: no limit"},
    INT(rate_limit_burst, "RATE_LIMIT_BURST", "0", 0, 1000000,
        "requests that a client may make at once; 0: twice the rate"),
    TEXT(trusted_proxies, "TRUSTED_PROXIES", "",
         "addresses or CIDR blocks whose X-Forwarded-For is believed, a comma list"),

    GROUP("Log"),
    CHOICE(log_level, "LOG_LEVEL", "info", "debug, info, warn, error",
           "the least severe lines to write"),
    CHOICE(log_format, "LOG_FORMAT", "text", "text, json", "form of a line"),
};
/* clang-format on */

const size_t settings_table_size = sizeof settings_table / sizeof settings_table[0];

/* The rules that were installed with this program, wherever that was; "" when it runs from where it
 * was built. Looked for once. */
static const char *installed_rules(void)
{
    static const char *found;
    char path[PATH_MAX + sizeof "/" CS_RULES_FROM_PROGRAM "/init.lua"];
    if (found)
        return found;
    found = "";
    ssize_t size = readlink("/proc/self/exe", path, PATH_MAX);
    if (size <= 0 || size == PATH_MAX)
        return found;
    path[size] = '\0';
    char *name = strrchr(path, '/');
    snprintf(name, sizeof path - (size_t)(name - path), "/" CS_RULES_FROM_PROGRAM "/init.lua");
    char *resolved = realpath(path, NULL);
    if (resolved) {
        *strrchr(resolved, '/') = '\0';
        found = resolved;
    }
    return found;
}

const char *setting_initial(const struct setting *setting)
{
    if (setting->initial)
        return setting->initial;
    const char *installed = installed_rules();
    return *installed ? installed : "./lua";
}

const void *setting_field(const struct setting *setting, const struct settings *settings)
{
    return (const char *)settings + setting->offset;
}
