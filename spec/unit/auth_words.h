/* For the specs of auth: keys, and the words in which those specs are written. */
#ifndef AUTH_WORDS_H
#define AUTH_WORDS_H

#include "http/auth.h"
#include "jwt.h"

#define HS256 "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define RS256 "{\"alg\":\"RS256\"}"
#define ES256 "{\"alg\":\"ES256\"}"

static EVP_PKEY *rsa, *other_rsa, *ec, *other_ec;
static char directory[64], key_path[96], log_path[96];
static struct metrics *metrics;
static struct settings settings;
static struct auth *auth;
static struct arena arena;
static struct auth_result result;

static const struct jwt_signer BY_SECRET = {.secret = JWT_SECRET_TEXT};

static inline int make_keys(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/auth_spec.XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(key_path, sizeof key_path, "%s/keys", directory);
    snprintf(log_path, sizeof log_path, "%s/log", directory);
    rsa = EVP_RSA_gen(2048);
    other_rsa = EVP_RSA_gen(2048);
    ec = EVP_EC_gen("P-256");
    other_ec = EVP_EC_gen("P-256");
    metrics = metrics_new();
    return rsa && other_rsa && ec && other_ec ? 0 : 1;
}

static inline int drop_keys(void **state)
{
    (void)state;
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(other_rsa);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(other_ec);
    metrics_free(metrics);
    arena_free(&arena);
    unlink(key_path);
    unlink(log_path);
    rmdir(directory);
    return 0;
}

static inline int begin(void **state)
{
    (void)state;
    settings = (struct settings){.jwt_secret = "",
                                 .jwt_public_key_file = "",
                                 .jwt_algorithm = "",
                                 .jwt_issuer = "",
                                 .jwt_audience = "",
                                 .jwt_clock_skew_s = 60};
    return 0;
}

static inline int end(void **state)
{
    (void)state;
    auth_free(auth);
    auth = NULL;
    arena_reset(&arena);
    return 0;
}

/* ---- words of the specs ---- */

static inline void start(void)
{
    struct error err;
    auth = auth_new(&settings, metrics, &err);
    if (!auth)
        fail_msg("%s", err.text);
}

static inline void start_with_secret(void)
{
    settings.jwt_secret = JWT_SECRET_TEXT;
    start();
}

static inline void start_with_pem(EVP_PKEY *pkey)
{
    char *pem = pem_of(pkey, false);
    write_file(key_path, pem);
    free(pem);
    settings.jwt_public_key_file = key_path;
    start();
}

/* {"keys": [...]} with `rsa` as "r", `ec` as "e" and what is given, each ending in a comma. */
static inline void write_jwks(const char *others)
{
    struct buffer text = {0};
    buffer_printf(&text, "{\"keys\":[%s", others);
    append_jwk(&text, rsa, "\"kid\":\"r\",\"use\":\"sig\",\"alg\":\"RS256\"");
    buffer_append_byte(&text, ',');
    append_jwk(&text, ec, "\"kid\":\"e\",\"key_ops\":[\"verify\"]");
    buffer_append_string(&text, "]}");
    write_file(key_path, text.data);
    buffer_free(&text);
    settings.jwt_public_key_file = key_path;
}

static inline void assert_start_fails(const char *why)
{
    struct error err = {""};
    settings.jwt_public_key_file = key_path;
    auth = auth_new(&settings, metrics, &err);
    if (auth || !strstr(err.text, why) || !strstr(err.text, key_path))
        fail_msg("expected \"%s\", got \"%s\"", why, err.text);
}

static inline enum auth_outcome check(const char *authorization)
{
    auth_check(auth, authorization, &arena, &result);
    return result.outcome;
}

static inline enum auth_outcome check_made(const char *header, const char *claims,
                                           struct jwt_signer signer)
{
    char *text = bearer(header, claims, signer);
    enum auth_outcome outcome = check(text);
    free(text);
    return outcome;
}

/* With a good signature. */
static inline enum auth_outcome check_claims(const char *claims)
{
    return check_made(HS256, claims, BY_SECRET);
}

static inline void assert_bytes(struct bytes bytes, const char *expected)
{
    assert_non_null(bytes.data);
    assert_int_equal(bytes.size, strlen(expected));
    assert_memory_equal(bytes.data, expected, bytes.size);
}

static int saved_stderr;

static inline void begin_log(void)
{
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    assert_non_null(freopen(log_path, "w", stderr));
}

static inline void end_log(char *text, size_t size)
{
    fflush(stderr);
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    FILE *file = fopen(log_path, "r");
    assert_non_null(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
}

#endif
