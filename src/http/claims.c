#include "http/claims.h"

#include <jansson.h>
#include <string.h>

/* A NumericDate may have a fraction (RFC 7519, 2). */
static enum auth_outcome check_times(const json_t *claims, int skew_s, double now_s)
{
    const json_t *expires = json_object_get(claims, "exp");
    const json_t *begins = json_object_get(claims, "nbf");
    if (!expires)
        return AUTH_NO_EXPIRY;
    if (!json_is_number(expires) || (begins && !json_is_number(begins)))
        return AUTH_MALFORMED;
    if (json_number_value(expires) + skew_s <= now_s)
        return AUTH_EXPIRED;
    if (begins && json_number_value(begins) - skew_s > now_s)
        return AUTH_NOT_YET;
    return AUTH_PASSED;
}

static bool is_text(const json_t *value, const char *expected)
{
    const char *text = json_string_value(value);
    return text && strcmp(text, expected) == 0;
}

/* One audience or an array of them. */
static enum auth_outcome check_audience(const json_t *audience, const char *expected)
{
    bool is_ours = is_text(audience, expected);
    bool is_well_formed = !audience || json_is_string(audience) || json_is_array(audience);
    for (size_t i = 0; i < json_array_size(audience); i++) {
        const json_t *one = json_array_get(audience, i);
        is_well_formed &= json_is_string(one);
        is_ours |= is_text(one, expected);
    }
    if (!is_well_formed)
        return AUTH_MALFORMED;
    return is_ours ? AUTH_PASSED : AUTH_AUDIENCE;
}

static bool is_set(const char *text)
{
    return text && *text;
}

static enum auth_outcome check(const json_t *claims, const struct claims_policy *policy,
                               double now_s)
{
    const json_t *subject = json_object_get(claims, "sub");
    if (!json_is_object(claims) || (subject && !json_is_string(subject)))
        return AUTH_MALFORMED;
    enum auth_outcome outcome = check_times(claims, policy->skew_s, now_s);
    if (outcome != AUTH_PASSED)
        return outcome;
    if (is_set(policy->issuer) && !is_text(json_object_get(claims, "iss"), policy->issuer))
        return AUTH_ISSUER;
    if (is_set(policy->audience))
        return check_audience(json_object_get(claims, "aud"), policy->audience);
    return AUTH_PASSED;
}

enum auth_outcome claims_check(struct bytes payload, const struct claims_policy *policy,
                               int64_t now_ms, struct arena *arena, struct bytes *subject)
{
    json_t *claims = json_loadb(payload.data, payload.size, JSON_REJECT_DUPLICATES, NULL);
    enum auth_outcome outcome =
        claims ? check(claims, policy, (double)now_ms / 1000) : AUTH_MALFORMED;
    *subject = (struct bytes){0};
    if (outcome == AUTH_PASSED)
        *subject =
            arena_copy(arena, bytes_of_string(json_string_value(json_object_get(claims, "sub"))));
    json_decref(claims);
    return outcome;
}
