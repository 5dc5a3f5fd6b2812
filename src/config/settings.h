/* Every setting of the program: one table (settings.c) gives name, type, default, range and help;
 * `--help`, the documents and the checks at start all come from it. Settings are read from the
 * environment once and never change afterwards, so every thread may read them. */
#ifndef CONFIG_SETTINGS_H
#define CONFIG_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

struct settings {
    /* HTTP */
    int port;                  /* PORT, 8000 (0: any free port, logged) */
    const char *host;          /* HOST, 0.0.0.0 */
    int http_threads;          /* HTTP_THREADS, 2; 0: no HTTP */
    int http_max_connections;  /* HTTP_MAX_CONNECTIONS, 10000, per process */
    int http_max_in_flight;    /* HTTP_MAX_IN_FLIGHT, 512, per process; beyond: 503 at once */
    int http_max_header_bytes; /* HTTP_MAX_HEADER_BYTES, 16384, URI included */
    int http_max_body_bytes;   /* HTTP_MAX_BODY_BYTES, 65536 */
    /* HTTP_REQUEST_TIMEOUT_MS, 10000: head and body must have arrived */
    int http_request_timeout_ms;
    int http_idle_timeout_ms; /* HTTP_IDLE_TIMEOUT_MS, 65000: keep-alive */
    const char *cors_origins; /* CORS_ORIGINS, "*"; a comma list; "" sends no CORS headers */
    const char *admin_host;   /* ADMIN_HOST, 127.0.0.1 */
    int admin_port;           /* ADMIN_PORT, 8001 (0: any free port, logged) */
    const char *admin_token;  /* ADMIN_TOKEN, secret; required when ADMIN_HOST is not loopback */

    /* PostgreSQL */
    const char *database_url;    /* DATABASE_URL, secret; wins over DB_* */
    const char *db_host;         /* DB_HOST, localhost */
    int db_port;                 /* DB_PORT, 5432 */
    const char *db_name;         /* DB_NAME, postgres */
    const char *db_user;         /* DB_USER, postgres */
    const char *db_password;     /* DB_PASSWORD, secret, "" */
    int db_pool_size;            /* DB_POOL_SIZE, 2 connections for each HTTP thread */
    int db_connect_timeout_ms;   /* DB_CONNECT_TIMEOUT_MS, 5000 */
    int db_statement_timeout_ms; /* DB_STATEMENT_TIMEOUT_MS, 5000, HTTP queries */
    int db_write_timeout_ms;     /* DB_WRITE_TIMEOUT_MS, 60000, statements of ingest */

    /* Kafka */
    const char *kafka_brokers;   /* KAFKA_BROKERS, localhost:9092 */
    const char *kafka_client_id; /* KAFKA_CLIENT_ID, core-service */
    /* MARKET_CONSUMER_GROUP_ID, else KAFKA_GROUP_ID, core-service-market-consumer */
    const char *kafka_group_id;
    /* KAFKA_CONFIG_FILE, librdkafka properties, one name=value a line */
    const char *kafka_config_file;
    int ingest_workers; /* INGEST_WORKERS, 1; 0: no ingest */
    int batch_size;     /* MARKET_CONSUMER_BATCH_SIZE, 10000 messages at most in one batch */
    int batch_bytes;    /* INGEST_BATCH_BYTES, 16 MiB of payload at most in one batch */
    int flush_ms; /* MARKET_CONSUMER_FLUSH_MS, 1000: the latest moment a gathered message is sent */
    int message_max_bytes;   /* INGEST_MESSAGE_MAX_BYTES, 1 MiB; larger ones are rejected unread */
    int prefetch_bytes;      /* INGEST_PREFETCH_BYTES, 16 MiB held by librdkafka per worker */
    int revoke_wait_ms;      /* REVOKE_WAIT_MS, 5000 */
    int ledger_floor_ms;     /* LEDGER_FLOOR_MS, 60000 */
    int shutdown_timeout_ms; /* SHUTDOWN_TIMEOUT_MS, 10000 */

    /* Rules */
    const char *lua_dir;    /* LUA_DIR, the installed rules, else ./lua */
    int rules_load_ms;      /* RULES_LOAD_MS, 1000: CPU time to load all rules into one state */
    int rules_map_ms;       /* RULES_MAP_MS, 50: CPU time of one map call */
    int rules_request_ms;   /* RULES_REQUEST_MS, 50: of one request or params call */
    int rules_reply_ms;     /* RULES_REPLY_MS, 200: of one reply call */
    int rules_memory_bytes; /* RULES_MEMORY_BYTES, 64 MiB for each Lua state */
    int rules_watch_ms;     /* RULES_WATCH_MS, 500 between scans; 0: files are not watched */
    const char *rules_env;  /* RULES_ENV: comma list of further variables that cs.env may read */

    /* Auth and limits (off unless set) */
    const char *jwt_secret;          /* JWT_SECRET, secret: HS256 */
    const char *jwt_public_key_file; /* JWT_PUBLIC_KEY_FILE: PEM or JWKS, RS256 and ES256 */
    /* JWT_ALGORITHM: HS256, RS256 or ES256; "" follows from the key */
    const char *jwt_algorithm;
    const char *jwt_issuer;      /* JWT_ISSUER */
    const char *jwt_audience;    /* JWT_AUDIENCE */
    int jwt_clock_skew_s;        /* JWT_CLOCK_SKEW_S, 60 */
    double rate_limit_rps;       /* RATE_LIMIT_RPS, 0: off */
    int rate_limit_burst;        /* RATE_LIMIT_BURST, 0: twice the rate */
    const char *trusted_proxies; /* TRUSTED_PROXIES: comma list of addresses or CIDR blocks */

    /* Log */
    const char *log_level;  /* LOG_LEVEL, info: debug, info, warn, error */
    const char *log_format; /* LOG_FORMAT, text or json */
};

/* Reads the environment into `*settings`; texts live as long as the process. False: `err` names the
 * variable, its value (unless secret) and what was expected. An empty variable counts as not set,
 * except where "" is a value (CORS_ORIGINS). Also checks what spans several settings (ADMIN_TOKEN,
 * JWT_*). Main thread, at start. */
bool settings_load(struct settings *settings, struct error *err)
    __attribute__((warn_unused_result));

/* The libpq connection string made of DATABASE_URL or DB_*: a URI or key=value text with everything
 * quoted. free() it. */
char *settings_database(const struct settings *settings) __attribute__((malloc));

/* One line a setting, grouped: name, default, help. For --help (`markdown` false) and for
 * docs/OPERATIONS.md. */
void settings_print_help(FILE *out, bool markdown);

/* The settings that differ from their default, secrets as "***", for the log at start: "PORT=9000
 * LOG_LEVEL=debug". free() it. */
char *settings_describe(const struct settings *settings) __attribute__((malloc));

#endif
