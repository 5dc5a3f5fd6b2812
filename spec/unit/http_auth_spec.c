/* Which tokens are refused, and in which words. */
#include "auth_words.h"

#include "base/clock.h"

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
        SPEC(asks_for_a_token_without_naming_an_error),
        SPEC(knows_the_scheme_in_any_case),
        SPEC(names_the_error_of_a_token_that_was_given),
        SPEC(refuses_unsigned_tokens),
        SPEC(refuses_hs256_signed_with_the_public_key),
        SPEC(refuses_algorithms_that_were_not_configured),
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
        SPEC(counts_refusals_by_reason),
    };
    return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
