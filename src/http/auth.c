#include "http/auth.h"

#include <jansson.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "http/claims.h"
#include "http/key_file.h"
#include "http/keys.h"

#define SECRET_BYTES_ADVISED 32 /* RFC 7518, 3.2 */

#define BASE64URL "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

struct auth {
    const struct settings *settings;
    struct claims_policy policy;
    struct counter *refused[AUTH_OUTCOMES];
    bool is_on;
    pthread_mutex_t lock; /* over the pointer, not over its use */
    struct key_set *keys; /* NULL when authentication is off */
};

static const struct {
    const char *reason; /* the metric's label */
    const char *text;   /* without quotes and backslashes, as RFC 6750 has it */
} OUTCOMES[AUTH_OUTCOMES] = {
    [AUTH_NO_TOKEN] = {"no_token", "A bearer token is required"},
    [AUTH_OVERSIZED] = {"oversized", "The token is too large"},
    [AUTH_MALFORMED] = {"malformed", "The token is malformed"},
    [AUTH_ALGORITHM] = {"algorithm", "The token's algorithm is not accepted"},
    [AUTH_UNKNOWN_KEY] = {"unknown_key", "The token's key is not known"},
    [AUTH_SIGNATURE] = {"signature", "The token's signature is wrong"},
    [AUTH_NO_EXPIRY] = {"no_expiry", "The token never expires"},
    [AUTH_EXPIRED] = {"expired", "The token has expired"},
    [AUTH_NOT_YET] = {"not_yet", "The token is not valid yet"},
    [AUTH_ISSUER] = {"issuer", "The token comes from another issuer"},
    [AUTH_AUDIENCE] = {"audience", "The token is meant for another audience"},
};

static bool is_set(const char *text)
{
    return text && *text;
}

/* ---- the token ---- */

/* The token in "Bearer <token>", NULL when there is none. */
static const char *token_of(const char *authorization)
{
    const char *scheme = "Bearer ";
    if (!authorization || strncasecmp(authorization, scheme, strlen(scheme)) != 0)
        return NULL;
    return authorization + strlen(scheme) + strspn(authorization + strlen(scheme), " ");
}

/* Three parts of base64url without padding. The last may be empty: unsigned tokens are, and are
 * refused for that. */
static bool is_compact(const char *token, size_t *header_size)
{
    size_t header = strspn(token, BASE64URL);
    const char *payload = token + header + 1;
    if (header == 0 || token[header] != '.')
        return false;
    size_t size = strspn(payload, BASE64URL);
    if (size == 0 || payload[size] != '.')
        return false;
    const char *signature = payload + size + 1;
    *header_size = header;
    return signature[strspn(signature, BASE64URL)] == '\0';
}

/* The token's header, to be released; NULL: malformed, or it names extensions that must be
 * understood, of which none is here. */
static json_t *header_of(const char *token, size_t size)
{
    uint8_t *text = NULL;
    size_t text_size = 0;
    if (!cjose_base64url_decode(token, size, &text, &text_size, NULL))
        return NULL;
    json_t *header = json_loadb((char *)text, text_size, JSON_REJECT_DUPLICATES, NULL);
    const json_t *kid = json_object_get(header, "kid");
    bool is_fit = json_is_string(json_object_get(header, "alg")) &&
                  !json_object_get(header, "crit") && (!kid || json_is_string(kid));
    free(text);
    if (is_fit)
        return header;
    json_decref(header);
    return NULL;
}

static enum auth_outcome choose_key(const struct key_set *keys, const json_t *header,
                                    const struct key **key)
{
    const char *name = json_string_value(json_object_get(header, "alg"));
    enum jwt_algorithm algorithm;
    if (!jwt_algorithm_parse(name, &algorithm) || !key_set_allows(keys, algorithm))
        return AUTH_ALGORITHM;
    *key = key_set_find(keys, algorithm, json_string_value(json_object_get(header, "kid")));
    return *key ? AUTH_PASSED : AUTH_UNKNOWN_KEY;
}

/* AUTH_PASSED: *payload is what was signed, in the arena. */
static enum auth_outcome verify(const char *token, size_t size, const struct key *key,
                                struct arena *arena, struct bytes *payload)
{
    uint8_t *text = NULL;
    size_t text_size = 0;
    cjose_jws_t *jws = cjose_jws_import(token, size, NULL);
    enum auth_outcome outcome = AUTH_MALFORMED;
    if (jws)
        outcome = cjose_jws_verify(jws, key->jwk, NULL) &&
                          cjose_jws_get_plaintext(jws, &text, &text_size, NULL)
                      ? AUTH_PASSED
                      : AUTH_SIGNATURE;
    if (outcome == AUTH_PASSED)
        *payload = arena_copy(arena, bytes_of((const char *)text, text_size));
    cjose_jws_release(jws);
    ERR_clear_error(); /* the thread's next TLS call must not find these */
    return outcome;
}

static enum auth_outcome check_token(const struct auth *auth, const struct key_set *keys,
                                     const char *token, struct arena *arena,
                                     struct auth_result *result)
{
    const struct key *key = NULL;
    size_t size = strlen(token), header_size;
    if (size > AUTH_TOKEN_BYTES_MAX)
        return AUTH_OVERSIZED;
    json_t *header = is_compact(token, &header_size) ? header_of(token, header_size) : NULL;
    enum auth_outcome outcome = header ? choose_key(keys, header, &key) : AUTH_MALFORMED;
    if (outcome == AUTH_PASSED)
        outcome = verify(token, size, key, arena, &result->claims);
    if (outcome == AUTH_PASSED)
        outcome = claims_check(result->claims, &auth->policy, clock_realtime_ms(), arena,
                               &result->subject);
    json_decref(header);
    return outcome;
}

static struct key_set *hold_keys(struct auth *auth)
{
    pthread_mutex_lock(&auth->lock);
    struct key_set *keys = key_set_hold(auth->keys);
    pthread_mutex_unlock(&auth->lock);
    return keys;
}

static void refuse(struct auth *auth, enum auth_outcome outcome, struct arena *arena,
                   struct auth_result *result)
{
    const char *text = OUTCOMES[outcome].text;
    *result = (struct auth_result){.outcome = outcome, .text = text};
    result->challenge =
        outcome == AUTH_NO_TOKEN
            ? arena_printf(arena, "Bearer realm=\"core-service\"")
            : arena_printf(arena, "Bearer error=\"invalid_token\", error_description=\"%s\"", text);
    counter_add(auth->refused[outcome], 1);
}

void auth_check(struct auth *auth, const char *authorization, struct arena *arena,
                struct auth_result *result)
{
    *result = (struct auth_result){.outcome = AUTH_PASSED};
    if (!auth->is_on)
        return;
    struct key_set *keys = hold_keys(auth);
    const char *token = token_of(authorization);
    enum auth_outcome outcome =
        token ? check_token(auth, keys, token, arena, result) : AUTH_NO_TOKEN;
    if (outcome != AUTH_PASSED)
        refuse(auth, outcome, arena, result);
    key_set_release(keys);
}

/* ---- the keys ---- */

static struct key_set *read_keys(const struct settings *settings, struct error *err)
{
    if (is_set(settings->jwt_public_key_file))
        return key_file_read(settings->jwt_public_key_file, settings->jwt_algorithm, err);
    struct key_set *keys = key_set_new();
    if (key_set_add_secret(keys, bytes_of_string(settings->jwt_secret), err))
        return keys;
    error_context(err, "JWT_SECRET");
    key_set_release(keys);
    return NULL;
}

static void describe_keys(const struct auth *auth)
{
    const struct settings *settings = auth->settings;
    struct buffer line = {0};
    const char *separator = "";
    for (enum jwt_algorithm i = 0; i < JWT_ALGORITHMS; i++) {
        if (!key_set_allows(auth->keys, i))
            continue;
        buffer_printf(&line, "%s%s", separator, jwt_algorithm_name(i));
        separator = " or ";
    }
    if (is_set(settings->jwt_public_key_file))
        buffer_printf(&line, " by %zu key(s) of %s", auth->keys->n_keys,
                      settings->jwt_public_key_file);
    else
        buffer_append_string(&line, " by JWT_SECRET");
    if (is_set(settings->jwt_issuer))
        buffer_printf(&line, ", issuer %s", settings->jwt_issuer);
    if (is_set(settings->jwt_audience))
        buffer_printf(&line, ", audience %s", settings->jwt_audience);
    log_info("http", "requests need a token: %s", line.data);
    buffer_free(&line);
}

static void make_counters(struct auth *auth, struct metrics *metrics)
{
    for (size_t i = AUTH_PASSED + 1; i < AUTH_OUTCOMES; i++) {
        const struct label label = {"reason", OUTCOMES[i].reason};
        auth->refused[i] = metrics_counter(metrics, "core_service_http_auth_refused_total",
                                           "Requests answered 401, by what was wrong", &label, 1);
    }
}

struct auth *auth_new(const struct settings *settings, struct metrics *metrics, struct error *err)
{
    struct key_set *keys = NULL;
    bool is_on = is_set(settings->jwt_secret) || is_set(settings->jwt_public_key_file);
    if (is_on && !(keys = read_keys(settings, err)))
        return NULL;
    struct auth *auth = memory_zero(1, sizeof *auth);
    auth->settings = settings;
    auth->policy = (struct claims_policy){.issuer = settings->jwt_issuer,
                                          .audience = settings->jwt_audience,
                                          .skew_s = settings->jwt_clock_skew_s};
    auth->is_on = is_on;
    auth->keys = keys;
    pthread_mutex_init(&auth->lock, NULL);
    make_counters(auth, metrics);
    if (is_on)
        describe_keys(auth);
    else
        log_info("http",
                 "authentication is off: neither JWT_SECRET nor JWT_PUBLIC_KEY_FILE is set");
    if (is_set(settings->jwt_secret) && strlen(settings->jwt_secret) < SECRET_BYTES_ADVISED)
        log_warn("http", "JWT_SECRET has fewer than %d bytes and may be guessed from any token",
                 SECRET_BYTES_ADVISED);
    return auth;
}

void auth_free(struct auth *auth)
{
    if (!auth)
        return;
    key_set_release(auth->keys);
    pthread_mutex_destroy(&auth->lock);
    free(auth);
}

bool auth_is_on(const struct auth *auth)
{
    return auth->is_on;
}

bool auth_reload(struct auth *auth, struct error *err)
{
    struct error why;
    if (!is_set(auth->settings->jwt_public_key_file))
        return true;
    struct key_set *keys =
        key_file_read(auth->settings->jwt_public_key_file, auth->settings->jwt_algorithm, &why);
    if (!keys) {
        log_error("http", "tokens are still verified with the keys read before: %s", why.text);
        return error_set(err, "%s", why.text);
    }
    pthread_mutex_lock(&auth->lock);
    struct key_set *before = auth->keys;
    auth->keys = keys;
    pthread_mutex_unlock(&auth->lock);
    key_set_release(before);
    describe_keys(auth);
    return true;
}
