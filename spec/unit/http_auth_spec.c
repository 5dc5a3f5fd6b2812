#include "jwt.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "http/auth.h"

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

static int make_keys(void **state)
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

static int drop_keys(void **state)
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

static int begin(void **state)
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

static int end(void **state)
{
    (void)state;
    auth_free(auth);
    auth = NULL;
    arena_reset(&arena);
    return 0;
}

/* ---- words of the specs ---- */

static void start(void)
{
    struct error err;
    auth = auth_new(&settings, metrics, &err);
    if (!auth)
        fail_msg("%s", err.text);
}

static void start_with_secret(void)
{
    settings.jwt_secret = JWT_SECRET_TEXT;
    start();
}

static void start_with_pem(EVP_PKEY *pkey)
{
    char *pem = pem_of(pkey, false);
    write_file(key_path, pem);
    free(pem);
    settings.jwt_public_key_file = key_path;
    start();
}

/* {"keys": [...]} with `rsa` as "r", `ec` as "e" and what is given, each ending in a comma. */
static void write_jwks(const char *others)
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

static void assert_start_fails(const char *why)
{
    struct error err = {""};
    settings.jwt_public_key_file = key_path;
    auth = auth_new(&settings, metrics, &err);
    if (auth || !strstr(err.text, why) || !strstr(err.text, key_path))
        fail_msg("expected \"%s\", got \"%s\"", why, err.text);
}

static enum auth_outcome check(const char *authorization)
{
    auth_check(auth, authorization, &arena, &result);
    return result.outcome;
}

static enum auth_outcome check_made(const char *header, const char *claims,
                                    struct jwt_signer signer)
{
    char *text = bearer(header, claims, signer);
    enum auth_outcome outcome = check(text);
    free(text);
    return outcome;
}

/* With a good signature. */
static enum auth_outcome check_claims(const char *claims)
{
    return check_made(HS256, claims, BY_SECRET);
}

static void assert_bytes(struct bytes bytes, const char *expected)
{
    assert_non_null(bytes.data);
    assert_int_equal(bytes.size, strlen(expected));
    assert_memory_equal(bytes.data, expected, bytes.size);
}

static int saved_stderr;

static void begin_log(void)
{
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    assert_non_null(freopen(log_path, "w", stderr));
}

static void end_log(char *text, size_t size)
{
    fflush(stderr);
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    FILE *file = fopen(log_path, "r");
    assert_non_null(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
}

/* ---- off and on ---- */

static void lets_everybody_pass_and_says_so_when_nothing_is_configured(void **state)
{
    (void)state;
    char log[2048];
    begin_log();
    start();
    end_log(log, sizeof log);
    assert_non_null(strstr(log, "authentication is off"));
    assert_int_equal(check(NULL), AUTH_PASSED);
    assert_int_equal(check("Bearer whatever"), AUTH_PASSED);
    assert_null(result.claims.data);
    assert_null(result.subject.data);
}

static void says_what_it_asks_for_and_never_the_secret(void **state)
{
    (void)state;
    char log[2048];
    settings.jwt_issuer = "https://id.example";
    settings.jwt_audience = "candles";
    begin_log();
    start_with_secret();
    end_log(log, sizeof log);
    assert_non_null(strstr(log, "requests need a token: HS256 by JWT_SECRET, issuer "
                                "https://id.example, audience candles"));
    assert_null(strstr(log, JWT_SECRET_TEXT));
}

static void warns_of_a_secret_that_can_be_guessed(void **state)
{
    (void)state;
    char log[2048];
    settings.jwt_secret = "short";
    begin_log();
    start();
    end_log(log, sizeof log);
    assert_non_null(strstr(log, "fewer than 32 bytes"));
    assert_int_equal(check_made(HS256, claims_for(60, ""), (struct jwt_signer){.secret = "short"}),
                     AUTH_PASSED);
}

static void takes_a_token_and_hands_over_its_claims(void **state)
{
    (void)state;
    start_with_secret();
    const char *claims = claims_for(60, ",\"sub\":\"ann\",\"scope\":[\"a\"],\"n\":1.50");
    assert_int_equal(check_claims(claims), AUTH_PASSED);
    assert_bytes(result.claims, claims);
    assert_bytes(result.subject, "ann");
    assert_int_equal(check_claims(claims_for(60, "")), AUTH_PASSED);
    assert_null(result.subject.data);
}

static void takes_rs256_and_es256_by_a_pem_file(void **state)
{
    (void)state;
    start_with_pem(rsa);
    assert_int_equal(check_made(RS256, claims_for(60, ""), (struct jwt_signer){.pkey = rsa}),
                     AUTH_PASSED);
    assert_int_equal(check_made("{\"alg\":\"RS256\",\"kid\":\"any\"}", claims_for(60, ""),
                                (struct jwt_signer){.pkey = rsa}),
                     AUTH_PASSED);
    end(NULL);
    start_with_pem(ec);
    assert_int_equal(check_made(ES256, claims_for(60, ""), (struct jwt_signer){.pkey = ec}),
                     AUTH_PASSED);
}

static void takes_a_certificate(void **state)
{
    (void)state;
    X509 *certificate = X509_new();
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    X509_set_pubkey(certificate, rsa);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    assert_true(X509_sign(certificate, rsa, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_bio_X509(bio, certificate), 1);
    char *pem = memory_string_n((BIO_get_mem_data(bio, &data), data), BIO_pending(bio));
    write_file(key_path, pem);
    free(pem);
    BIO_free(bio);
    X509_free(certificate);
    settings.jwt_public_key_file = key_path;
    start();
    assert_int_equal(check_made(RS256, claims_for(60, ""), (struct jwt_signer){.pkey = rsa}),
                     AUTH_PASSED);
}

static void chooses_a_key_by_its_kid(void **state)
{
    (void)state;
    const struct jwt_signer by_rsa = {.pkey = rsa}, by_ec = {.pkey = ec};
    write_jwks("");
    start();
    assert_int_equal(check_made("{\"alg\":\"RS256\",\"kid\":\"r\"}", claims_for(60, ""), by_rsa),
                     AUTH_PASSED);
    assert_int_equal(check_made("{\"alg\":\"ES256\",\"kid\":\"e\"}", claims_for(60, ""), by_ec),
                     AUTH_PASSED);
    assert_int_equal(check_made("{\"alg\":\"RS256\",\"kid\":\"x\"}", claims_for(60, ""), by_rsa),
                     AUTH_UNKNOWN_KEY);
    assert_int_equal(check_made("{\"alg\":\"RS256\",\"kid\":\"e\"}", claims_for(60, ""), by_rsa),
                     AUTH_UNKNOWN_KEY);
}

static void needs_a_kid_only_when_there_is_a_choice(void **state)
{
    (void)state;
    const struct jwt_signer by_rsa = {.pkey = rsa};
    write_jwks("");
    start();
    assert_int_equal(check_made(RS256, claims_for(60, ""), by_rsa), AUTH_PASSED);
    struct buffer second = {0};
    append_jwk(&second, other_rsa, "\"kid\":\"second\"");
    buffer_append_byte(&second, ',');
    write_jwks(second.data);
    buffer_free(&second);
    assert_true(auth_reload(auth, NULL));
    assert_int_equal(check_made(RS256, claims_for(60, ""), by_rsa), AUTH_UNKNOWN_KEY);
    assert_int_equal(check_made("{\"alg\":\"RS256\",\"kid\":\"r\"}", claims_for(60, ""), by_rsa),
                     AUTH_PASSED);
}

/* ---- no token ---- */

static void asks_for_a_token_without_naming_an_error(void **state)
{
    (void)state;
    start_with_secret();
    assert_int_equal(check(NULL), AUTH_NO_TOKEN);
    assert_string_equal(result.challenge, "Bearer realm=\"core-service\"");
    assert_string_equal(result.text, "A bearer token is required");
    assert_int_equal(check(""), AUTH_NO_TOKEN);
    assert_int_equal(check("Basic YTpi"), AUTH_NO_TOKEN);
    assert_int_equal(check("Bearer"), AUTH_NO_TOKEN);
}

static void knows_the_scheme_in_any_case(void **state)
{
    (void)state;
    start_with_secret();
    char *text = bearer(HS256, claims_for(60, ""), BY_SECRET);
    memcpy(text, "bEARER", 6);
    assert_int_equal(check(text), AUTH_PASSED);
    free(text);
}

static void names_the_error_of_a_token_that_was_given(void **state)
{
    (void)state;
    start_with_secret();
    assert_int_equal(check_claims(claims_for(-3600, "")), AUTH_EXPIRED);
    assert_string_equal(
        result.challenge,
        "Bearer error=\"invalid_token\", error_description=\"The token has expired\"");
    assert_string_equal(result.text, "The token has expired");
    assert_null(result.claims.data);
    assert_null(result.subject.data);
}

/* ---- attacks on the algorithm ---- */

static void refuses_unsigned_tokens(void **state)
{
    (void)state;
    static const char *const names[] = {"none", "None", "NONE", "nOnE", ""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char header[64];
        snprintf(header, sizeof header, "{\"alg\":\"%s\"}", names[i]);
        start_with_secret();
        assert_int_equal(check_made(header, claims_for(60, ""), (struct jwt_signer){0}),
                         AUTH_ALGORITHM);
        assert_int_equal(check_made(header, claims_for(60, ""), BY_SECRET), AUTH_ALGORITHM);
        end(NULL);
    }
    start_with_secret();
    assert_int_equal(check_made(HS256, claims_for(60, ""), (struct jwt_signer){0}), AUTH_SIGNATURE);
}

static void refuses_hs256_signed_with_the_public_key(void **state)
{
    (void)state;
    char *pem = pem_of(rsa, false);
    start_with_pem(rsa);
    assert_int_equal(check_made(HS256, claims_for(60, ""), (struct jwt_signer){.secret = pem}),
                     AUTH_ALGORITHM);
    pem[strlen(pem) - 1] = '\0';
    assert_int_equal(check_made(HS256, claims_for(60, ""), (struct jwt_signer){.secret = pem}),
                     AUTH_ALGORITHM);
    free(pem);
}

static void refuses_algorithms_that_were_not_configured(void **state)
{
    (void)state;
    static const char *const others[] = {"HS384", "HS512", "RS256", "RS384", "RS512", "PS256",
                                         "ES256", "ES384", "ES512", "EdDSA", "hs256", "HS256 "};
    start_with_secret();
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        char header[64];
        snprintf(header, sizeof header, "{\"alg\":\"%s\"}", others[i]);
        assert_int_equal(check_made(header, claims_for(60, ""), BY_SECRET), AUTH_ALGORITHM);
    }
}

static void refuses_a_key_of_the_file_that_jwt_algorithm_leaves_out(void **state)
{
    (void)state;
    write_jwks("");
    settings.jwt_algorithm = "ES256";
    start();
    assert_int_equal(check_made("{\"alg\":\"ES256\",\"kid\":\"e\"}", claims_for(60, ""),
                                (struct jwt_signer){.pkey = ec}),
                     AUTH_PASSED);
    assert_int_equal(check_made("{\"alg\":\"RS256\",\"kid\":\"r\"}", claims_for(60, ""),
                                (struct jwt_signer){.pkey = rsa}),
                     AUTH_ALGORITHM);
}

static void does_not_follow_a_token_to_its_own_key(void **state)
{
    (void)state;
    struct buffer header = {0};
    buffer_append_string(&header, "{\"alg\":\"RS256\",\"jku\":\"http://127.0.0.1/keys\",\"jwk\":");
    append_jwk(&header, other_rsa, "");
    buffer_append_byte(&header, '}');
    start_with_pem(rsa);
    assert_int_equal(
        check_made(header.data, claims_for(60, ""), (struct jwt_signer){.pkey = other_rsa}),
        AUTH_SIGNATURE);
    buffer_free(&header);
}

static void refuses_headers_that_can_be_read_in_two_ways(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "{}",
        "[\"HS256\"]",
        "\"HS256\"",
        "{\"alg\":null}",
        "{\"alg\":256}",
        "{\"alg\":[\"HS256\"]}",
        "{\"alg\":\"none\",\"alg\":\"HS256\"}",
        "{\"alg\":\"HS256\"} ,",
        "{\"alg\":\"HS256\",\"kid\":7}",
        "{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}",
        "{\"alg\":\"HS256\",\"crit\":[]}",
        "{\"alg\":\"HS256\\u0000\"}",
        "{\"alg\":\"HS256\",\"x\":\"\xff\"}",
    };
    start_with_secret();
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        if (check_made(headers[i], claims_for(60, ""), BY_SECRET) != AUTH_MALFORMED)
            fail_msg("%s is not refused as malformed", headers[i]);
    }
}

/* ---- attacks on the signature ---- */

static void refuses_signatures_of_other_keys(void **state)
{
    (void)state;
    start_with_secret();
    assert_int_equal(
        check_made(HS256, claims_for(60, ""), (struct jwt_signer){.secret = JWT_SECRET_TEXT "x"}),
        AUTH_SIGNATURE);
    end(NULL);
    settings.jwt_secret = "";
    start_with_pem(rsa);
    assert_int_equal(check_made(RS256, claims_for(60, ""), (struct jwt_signer){.pkey = other_rsa}),
                     AUTH_SIGNATURE);
    end(NULL);
    start_with_pem(ec);
    assert_int_equal(check_made(ES256, claims_for(60, ""), (struct jwt_signer){.pkey = other_ec}),
                     AUTH_SIGNATURE);
    assert_int_equal(check_made(ES256, claims_for(60, ""), (struct jwt_signer){.pkey = rsa}),
                     AUTH_SIGNATURE);
}

/* `signature` in place of the right one. */
static enum auth_outcome check_with_signature(const char *header, struct jwt_signer signer,
                                              const char *signature)
{
    char *text = bearer(header, claims_for(60, ""), signer);
    *strrchr(text, '.') = '\0';
    char *changed = memory_printf("%s.%s", text, signature);
    enum auth_outcome outcome = check(changed);
    free(changed);
    free(text);
    return outcome;
}

static void refuses_the_signature_of_zeros(void **state)
{
    (void)state;
    char zeros[87];
    memset(zeros, 'A', 86);
    zeros[86] = '\0';
    start_with_pem(ec);
    assert_int_equal(check_with_signature(ES256, (struct jwt_signer){.pkey = ec}, zeros),
                     AUTH_SIGNATURE);
    assert_int_equal(check_with_signature(ES256, (struct jwt_signer){.pkey = ec}, "AA"),
                     AUTH_SIGNATURE);
    assert_int_equal(check_with_signature(ES256, (struct jwt_signer){.pkey = ec}, ""),
                     AUTH_SIGNATURE);
}

static void refuses_parts_of_a_signature(void **state)
{
    (void)state;
    start_with_secret();
    char *text = bearer(HS256, claims_for(60, ""), BY_SECRET);
    char *signature = strrchr(text, '.') + 1;
    for (size_t size = strlen(signature) - 1; size > 0; size--) {
        signature[size] = '\0';
        assert_int_not_equal(check(text), AUTH_PASSED);
    }
    free(text);
    text = bearer(HS256, claims_for(60, ""), BY_SECRET);
    char *longer = memory_printf("%sAAAA", text);
    assert_int_equal(check(longer), AUTH_SIGNATURE);
    free(longer);
    free(text);
}

static void refuses_a_changed_payload(void **state)
{
    (void)state;
    start_with_secret();
    char *ours = bearer(HS256, claims_for(60, ",\"sub\":\"ann\""), BY_SECRET);
    char *theirs = bearer(HS256, claims_for(60, ",\"sub\":\"root\""), (struct jwt_signer){0});
    char *mixed = memory_printf("%s%s", theirs, strrchr(ours, '.') + 1);
    assert_int_equal(check(ours), AUTH_PASSED);
    assert_int_equal(check(mixed), AUTH_SIGNATURE);
    free(mixed);
    free(theirs);
    free(ours);
}

/* ---- shapes ---- */

static void refuses_what_is_no_signed_token(void **state)
{
    (void)state;
    static const char *const tokens[] = {
        "Bearer ",          "Bearer a",          "Bearer a.b",         "Bearer ..",
        "Bearer .e30.AA",   "Bearer e30..AA",    "Bearer a.b.c.d.e",   "Bearer !!!.e30.AA",
        "Bearer e30=.e30.", "Bearer e30.e30.A=", "Bearer e30.e 30.AA", "Bearer A.e30.AA",
    };
    start_with_secret();
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        if (check(tokens[i]) != AUTH_MALFORMED)
            fail_msg("%s is not refused as malformed", tokens[i]);
    }
    char *text = bearer(HS256, claims_for(60, ""), BY_SECRET);
    static const char *const tails[] = {" ", "=", ".", "\t", ",x", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        char *longer = memory_printf("%s%s", text, tails[i]);
        assert_int_equal(check(longer), AUTH_MALFORMED);
        free(longer);
    }
    free(text);
}

static void refuses_oversized_tokens_unread(void **state)
{
    (void)state;
    static char padding[AUTH_TOKEN_BYTES_MAX];
    start_with_secret();
    snprintf(padding, sizeof padding, ",\"pad\":\"%05900d\"", 0);
    assert_int_equal(check_claims(claims_for(60, padding)), AUTH_PASSED);
    snprintf(padding, sizeof padding, ",\"pad\":\"%06200d\"", 0);
    assert_int_equal(check_claims(claims_for(60, padding)), AUTH_OVERSIZED);
}

static void refuses_payloads_that_are_no_claims(void **state)
{
    (void)state;
    static const char *const payloads[] = {
        "[]",
        "null",
        "\"text\"",
        "not JSON",
        "{\"exp\":99999999999} x",
        "{\"exp\":99999999999,\"exp\":1}",
        "{\"exp\":\"99999999999\"}",
        "{\"exp\":true}",
        "{\"exp\":null}",
        "{\"exp\":NaN}",
        "{\"exp\":1e999}",
        "{\"exp\":99999999999,\"nbf\":\"0\"}",
        "{\"exp\":99999999999,\"sub\":7}",
        "{\"exp\":99999999999,\"sub\":\"a\\u0000b\"}",
        "{\"exp\":99999999999,\"sub\":\"\xff\"}",
    };
    start_with_secret();
    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++) {
        if (check_claims(payloads[i]) != AUTH_MALFORMED)
            fail_msg("%s is not refused as malformed", payloads[i]);
    }
}

/* ---- claims ---- */

static void wants_an_expiry(void **state)
{
    (void)state;
    start_with_secret();
    assert_int_equal(check_claims("{}"), AUTH_NO_EXPIRY);
    assert_int_equal(check_claims("{\"iat\":1,\"sub\":\"ann\"}"), AUTH_NO_EXPIRY);
}

static void lets_clocks_differ_by_the_skew(void **state)
{
    (void)state;
    char begins[64];
    start_with_secret();
    assert_int_equal(check_claims(claims_for(-50, "")), AUTH_PASSED);
    assert_int_equal(check_claims(claims_for(-61, "")), AUTH_EXPIRED);
    assert_int_equal(check_claims("{\"exp\":0}"), AUTH_EXPIRED);
    assert_int_equal(check_claims("{\"exp\":-1e300}"), AUTH_EXPIRED);
    snprintf(begins, sizeof begins, ",\"nbf\":%lld", (long long)time(NULL) + 50);
    assert_int_equal(check_claims(claims_for(600, begins)), AUTH_PASSED);
    snprintf(begins, sizeof begins, ",\"nbf\":%lld", (long long)time(NULL) + 70);
    assert_int_equal(check_claims(claims_for(600, begins)), AUTH_NOT_YET);
}

static void reads_times_with_a_fraction(void **state)
{
    (void)state;
    char claims[64];
    settings.jwt_clock_skew_s = 0;
    start_with_secret();
    snprintf(claims, sizeof claims, "{\"exp\":%.3f}", (double)clock_realtime_ms() / 1000 + 20.5);
    assert_int_equal(check_claims(claims), AUTH_PASSED);
    snprintf(claims, sizeof claims, "{\"exp\":%.3f}", (double)clock_realtime_ms() / 1000 - 0.001);
    assert_int_equal(check_claims(claims), AUTH_EXPIRED);
    assert_int_equal(check_claims("{\"exp\":9.9e10}"), AUTH_PASSED);
}

static void wants_the_configured_issuer(void **state)
{
    (void)state;
    settings.jwt_issuer = "https://id.example";
    start_with_secret();
    assert_int_equal(check_claims(claims_for(60, ",\"iss\":\"https://id.example\"")), AUTH_PASSED);
    assert_int_equal(check_claims(claims_for(60, ",\"iss\":\"https://id.example/\"")), AUTH_ISSUER);
    assert_int_equal(check_claims(claims_for(60, ",\"iss\":[\"https://id.example\"]")),
                     AUTH_ISSUER);
    assert_int_equal(check_claims(claims_for(60, "")), AUTH_ISSUER);
}

static void wants_the_configured_audience(void **state)
{
    (void)state;
    settings.jwt_audience = "candles";
    start_with_secret();
    assert_int_equal(check_claims(claims_for(60, ",\"aud\":\"candles\"")), AUTH_PASSED);
    assert_int_equal(check_claims(claims_for(60, ",\"aud\":[\"news\",\"candles\"]")), AUTH_PASSED);
    assert_int_equal(check_claims(claims_for(60, ",\"aud\":\"news\"")), AUTH_AUDIENCE);
    assert_int_equal(check_claims(claims_for(60, ",\"aud\":\"candles2\"")), AUTH_AUDIENCE);
    assert_int_equal(check_claims(claims_for(60, ",\"aud\":[\"news\"]")), AUTH_AUDIENCE);
    assert_int_equal(check_claims(claims_for(60, ",\"aud\":[]")), AUTH_AUDIENCE);
    assert_int_equal(check_claims(claims_for(60, "")), AUTH_AUDIENCE);
    assert_int_equal(check_claims(claims_for(60, ",\"aud\":{\"candles\":true}")), AUTH_MALFORMED);
    assert_int_equal(check_claims(claims_for(60, ",\"aud\":[\"candles\",7]")), AUTH_MALFORMED);
}

/* ---- key files ---- */

static void refuses_key_files_that_cannot_be_meant(void **state)
{
    (void)state;
    EVP_PKEY *weak = EVP_RSA_gen(1024), *p384 = EVP_EC_gen("P-384");
    struct buffer jwk = {0};
    unlink(key_path);
    assert_start_fails("No such file");
    write_file(key_path, "");
    assert_start_fails("neither a PEM public key nor a JSON Web Key");
    write_file(key_path, "{\"keys\":");
    assert_start_fails("line 1");
    write_file(key_path, "{\"keys\":{}}");
    assert_start_fails("\"keys\" is no array");
    write_file(key_path, "{\"keys\":[]}");
    assert_start_fails("no key that verifies RS256 or ES256");
    write_file(key_path, "{\"keys\":[{\"kty\":\"oct\",\"k\":\"QUJD\",\"alg\":\"HS256\"}]}");
    assert_start_fails("no key that verifies RS256 or ES256");
    write_file(key_path, "{\"keys\":[{\"kty\":\"RSA\",\"e\":\"AQAB\"}]}");
    assert_start_fails("key number 1: \"n\" is missing");
    write_file(key_path, "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AQAB\",\"y\":\"AQAB\"}");
    assert_start_fails("32 bytes each");
    buffer_append_string(&jwk, "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"");
    append_base64url(&jwk, "thirty-two bytes, on no curve...", 32);
    buffer_append_string(&jwk, "\",\"y\":\"");
    append_base64url(&jwk, "thirty-two bytes, on no curve...", 32);
    buffer_append_string(&jwk, "\"}");
    write_file(key_path, jwk.data);
    assert_start_fails("no valid ES256 key");
    buffer_clear(&jwk);
    append_jwk(&jwk, ec, "\"d\":\"AQAB\"");
    write_file(key_path, jwk.data);
    assert_start_fails("private key");
    buffer_clear(&jwk);
    append_jwk(&jwk, weak, "");
    write_file(key_path, jwk.data);
    assert_start_fails("1024 bits");
    buffer_free(&jwk);
    char *pem = pem_of(p384, false);
    write_file(key_path, pem);
    free(pem);
    assert_start_fails("P-256");
    EVP_PKEY_free(weak);
    EVP_PKEY_free(p384);
}

static void refuses_pem_files_with_the_wrong_keys(void **state)
{
    (void)state;
    char *private_key = pem_of(rsa, true), *first = pem_of(rsa, false), *second = pem_of(ec, false);
    char *both = memory_printf("%s%s", first, second);
    write_file(key_path, private_key);
    assert_start_fails("private key");
    write_file(key_path, both);
    assert_start_fails("more than one key");
    write_file(key_path, first);
    settings.jwt_algorithm = "ES256";
    assert_start_fails("a key for RS256, and JWT_ALGORITHM is ES256");
    free(both);
    free(second);
    free(first);
    free(private_key);
}

static void refuses_an_exponent_that_lets_everybody_sign(void **state)
{
    (void)state;
    struct buffer jwk = {0};
    append_jwk(&jwk, rsa, "");
    char *exponent = strstr(jwk.data, "AQAB");
    assert_non_null(exponent);
    memcpy(exponent, "AAAB", 4);
    write_file(key_path, jwk.data);
    assert_start_fails("exponent");
    buffer_free(&jwk);
}

static void passes_over_keys_that_are_not_for_verifying(void **state)
{
    (void)state;
    struct buffer others = {0};
    append_jwk(&others, other_rsa, "\"kid\":\"enc\",\"use\":\"enc\"");
    buffer_append_byte(&others, ',');
    append_jwk(&others, other_rsa, "\"kid\":\"ps\",\"alg\":\"PS256\"");
    buffer_append_byte(&others, ',');
    append_jwk(&others, other_rsa, "\"kid\":\"wrap\",\"key_ops\":[\"wrapKey\"]");
    buffer_append_string(&others, ",{\"kty\":\"OKP\",\"kid\":\"okp\"},{},7,");
    write_jwks(others.data);
    buffer_free(&others);
    start();
    static const char *const kids[] = {"enc", "ps", "wrap", "okp"};
    for (size_t i = 0; i < sizeof kids / sizeof kids[0]; i++) {
        char header[64];
        snprintf(header, sizeof header, "{\"alg\":\"RS256\",\"kid\":\"%s\"}", kids[i]);
        assert_int_equal(
            check_made(header, claims_for(60, ""), (struct jwt_signer){.pkey = other_rsa}),
            AUTH_UNKNOWN_KEY);
    }
    assert_int_equal(check_made("{\"alg\":\"RS256\",\"kid\":\"r\"}", claims_for(60, ""),
                                (struct jwt_signer){.pkey = rsa}),
                     AUTH_PASSED);
}

static void refuses_two_keys_of_one_kid(void **state)
{
    (void)state;
    struct buffer twin = {0};
    append_jwk(&twin, other_rsa, "\"kid\":\"r\"");
    buffer_append_byte(&twin, ',');
    write_jwks(twin.data);
    buffer_free(&twin);
    assert_start_fails("another key with the kid \"r\"");
}

/* ---- reload ---- */

static void takes_up_new_keys_on_reload(void **state)
{
    (void)state;
    start_with_pem(rsa);
    char *pem = pem_of(ec, false);
    write_file(key_path, pem);
    free(pem);
    assert_true(auth_reload(auth, NULL));
    assert_int_equal(check_made(ES256, claims_for(60, ""), (struct jwt_signer){.pkey = ec}),
                     AUTH_PASSED);
    assert_int_equal(check_made(RS256, claims_for(60, ""), (struct jwt_signer){.pkey = rsa}),
                     AUTH_ALGORITHM);
}

static void keeps_its_keys_when_the_new_file_is_bad(void **state)
{
    (void)state;
    char log[2048];
    struct error err;
    start_with_pem(rsa);
    write_file(key_path, "nonsense");
    begin_log();
    bool reloaded = auth_reload(auth, &err);
    end_log(log, sizeof log);
    assert_false(reloaded);
    assert_non_null(strstr(err.text, key_path));
    assert_non_null(strstr(log, "still verified with the keys read before"));
    assert_int_equal(check_made(RS256, claims_for(60, ""), (struct jwt_signer){.pkey = rsa}),
                     AUTH_PASSED);
    unlink(key_path);
    assert_false(auth_reload(auth, NULL));
    assert_int_equal(check_made(RS256, claims_for(60, ""), (struct jwt_signer){.pkey = rsa}),
                     AUTH_PASSED);
}

static atomic_bool is_over;

static void *check_until_over(void *token)
{
    struct arena own = {0};
    void *refused = NULL;
    while (!is_over) {
        struct auth_result own_result;
        auth_check(auth, token, &own, &own_result);
        if (own_result.outcome != AUTH_PASSED)
            refused = token;
        arena_reset(&own);
    }
    arena_free(&own);
    return refused;
}

static void reloads_while_threads_verify(void **state)
{
    (void)state;
    pthread_t threads[2];
    write_jwks("");
    start();
    char *token = bearer("{\"alg\":\"ES256\",\"kid\":\"e\"}", claims_for(60, ""),
                         (struct jwt_signer){.pkey = ec});
    is_over = false;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, check_until_over, token), 0);
    bool all = true;
    for (int i = 0; i < 50; i++)
        all &= auth_reload(auth, NULL);
    is_over = true;
    for (size_t i = 0; i < 2; i++) {
        void *refused;
        pthread_join(threads[i], &refused);
        assert_null(refused);
    }
    assert_true(all);
    free(token);
}

/* ---- metrics ---- */

static void counts_refusals_by_reason(void **state)
{
    (void)state;
    start_with_secret();
    const struct label label = {"reason", "audience"};
    struct counter *counter =
        metrics_counter(metrics, "core_service_http_auth_refused_total", "", &label, 1);
    uint64_t count = counter_get(counter);
    end(NULL);
    settings.jwt_audience = "candles";
    start_with_secret();
    check_claims(claims_for(60, ",\"aud\":\"news\""));
    check_claims(claims_for(60, ",\"aud\":\"candles\""));
    assert_int_equal(counter_get(counter), count + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SPEC(name) cmocka_unit_test_setup_teardown(name, begin, end)
        SPEC(lets_everybody_pass_and_says_so_when_nothing_is_configured),
        SPEC(says_what_it_asks_for_and_never_the_secret),
        SPEC(warns_of_a_secret_that_can_be_guessed),
        SPEC(takes_a_token_and_hands_over_its_claims),
        SPEC(takes_rs256_and_es256_by_a_pem_file),
        SPEC(takes_a_certificate),
        SPEC(chooses_a_key_by_its_kid),
        SPEC(needs_a_kid_only_when_there_is_a_choice),
        SPEC(asks_for_a_token_without_naming_an_error),
        SPEC(knows_the_scheme_in_any_case),
        SPEC(names_the_error_of_a_token_that_was_given),
        SPEC(refuses_unsigned_tokens),
        SPEC(refuses_hs256_signed_with_the_public_key),
        SPEC(refuses_algorithms_that_were_not_configured),
        SPEC(refuses_a_key_of_the_file_that_jwt_algorithm_leaves_out),
        SPEC(does_not_follow_a_token_to_its_own_key),
        SPEC(refuses_headers_that_can_be_read_in_two_ways),
        SPEC(refuses_signatures_of_other_keys),
        SPEC(refuses_the_signature_of_zeros),
        SPEC(refuses_parts_of_a_signature),
        SPEC(refuses_a_changed_payload),
        SPEC(refuses_what_is_no_signed_token),
        SPEC(refuses_oversized_tokens_unread),
        SPEC(refuses_payloads_that_are_no_claims),
        SPEC(wants_an_expiry),
        SPEC(lets_clocks_differ_by_the_skew),
        SPEC(reads_times_with_a_fraction),
        SPEC(wants_the_configured_issuer),
        SPEC(wants_the_configured_audience),
        SPEC(refuses_key_files_that_cannot_be_meant),
        SPEC(refuses_pem_files_with_the_wrong_keys),
        SPEC(refuses_an_exponent_that_lets_everybody_sign),
        SPEC(passes_over_keys_that_are_not_for_verifying),
        SPEC(refuses_two_keys_of_one_kid),
        SPEC(takes_up_new_keys_on_reload),
        SPEC(keeps_its_keys_when_the_new_file_is_bad),
        SPEC(reloads_while_threads_verify),
        SPEC(counts_refusals_by_reason),
    };
    return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
