/* Which keys verify which tokens, and where keys come from. */
#include "auth_words.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- choosing ---- */

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

/* RFC 7517, 4.5: keys of two types may be alternatives of one name. */
static void tells_keys_of_one_kid_apart_by_their_type(void **state)
{
    (void)state;
    struct buffer twin = {0};
    append_jwk(&twin, ec, "\"kid\":\"r\"");
    buffer_append_byte(&twin, ',');
    write_jwks(twin.data);
    buffer_free(&twin);
    start();
    assert_int_equal(check_made("{\"alg\":\"RS256\",\"kid\":\"r\"}", claims_for(60, ""),
                                (struct jwt_signer){.pkey = rsa}),
                     AUTH_PASSED);
    assert_int_equal(check_made("{\"alg\":\"ES256\",\"kid\":\"r\"}", claims_for(60, ""),
                                (struct jwt_signer){.pkey = ec}),
                     AUTH_PASSED);
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
    assert_start_fails("another RS256 key with the kid \"r\"");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SPEC(name) cmocka_unit_test_setup_teardown(name, begin, end)
        SPEC(takes_rs256_and_es256_by_a_pem_file),
        SPEC(takes_a_certificate),
        SPEC(chooses_a_key_by_its_kid),
        SPEC(tells_keys_of_one_kid_apart_by_their_type),
        SPEC(needs_a_kid_only_when_there_is_a_choice),
        SPEC(refuses_a_key_of_the_file_that_jwt_algorithm_leaves_out),
        SPEC(refuses_key_files_that_cannot_be_meant),
        SPEC(refuses_pem_files_with_the_wrong_keys),
        SPEC(refuses_an_exponent_that_lets_everybody_sign),
        SPEC(passes_over_keys_that_are_not_for_verifying),
        SPEC(refuses_two_keys_of_one_kid),
        SPEC(takes_up_new_keys_on_reload),
        SPEC(keeps_its_keys_when_the_new_file_is_bad),
        SPEC(reloads_while_threads_verify),
    };
    return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
