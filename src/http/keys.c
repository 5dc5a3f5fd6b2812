#include "http/keys.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define RSA_BITS_MIN   2048 /* RFC 7518, 3.3 */
#define RSA_BITS_MAX   8192 /* larger ones make a request expensive */
#define EXPONENT_BYTES 4    /* the usual one is 65537 */
#define P256_BYTES     32

static const char *const NAMES[JWT_ALGORITHMS] = {
    [JWT_HS256] = "HS256",
    [JWT_RS256] = "RS256",
    [JWT_ES256] = "ES256",
};

const char *jwt_algorithm_name(enum jwt_algorithm algorithm)
{
    return NAMES[algorithm];
}

bool jwt_algorithm_parse(const char *name, enum jwt_algorithm *algorithm)
{
    for (size_t i = 0; i < JWT_ALGORITHMS; i++) {
        if (strcmp(name, NAMES[i]) == 0) {
            *algorithm = (enum jwt_algorithm)i;
            return true;
        }
    }
    return false;
}

/* ---- life ---- */

struct key_set *key_set_new(void)
{
    struct key_set *set = memory_zero(1, sizeof *set);
    atomic_store(&set->holds, 1);
    return set;
}

struct key_set *key_set_hold(struct key_set *set)
{
    atomic_fetch_add(&set->holds, 1);
    return set;
}

void key_set_release(struct key_set *set)
{
    if (!set || atomic_fetch_sub(&set->holds, 1) > 1)
        return;
    for (size_t i = 0; i < set->n_keys; i++) {
        cjose_jwk_release(set->keys[i].jwk);
        free(set->keys[i].kid);
    }
    free(set);
}

/* ---- making keys ---- */

/* Takes `jwk` over in any case; NULL is what the library gives for a key that it does not take. */
static bool add(struct key_set *set, enum jwt_algorithm algorithm, const char *kid,
                cjose_jwk_t *jwk, struct error *err)
{
    if (!jwk)
        return error_set(err, "it is no valid %s key", NAMES[algorithm]);
    bool is_twice = false;
    for (size_t i = 0; kid && i < set->n_keys; i++)
        is_twice |= set->keys[i].algorithm == algorithm && set->keys[i].kid &&
                    strcmp(set->keys[i].kid, kid) == 0;
    if (is_twice || set->n_keys == KEYS_MAX) {
        cjose_jwk_release(jwk);
        return is_twice ? error_set(err, "there is another %s key with the kid \"%.64s\"",
                                    NAMES[algorithm], kid)
                        : error_set(err, "there are more than %d keys", KEYS_MAX);
    }
    set->keys[set->n_keys++] = (struct key){algorithm, kid ? memory_string(kid) : NULL, jwk};
    return true;
}

static struct bytes without_leading_zeros(struct bytes number)
{
    while (number.size > 0 && number.data[0] == '\0') {
        number.data++;
        number.size--;
    }
    return number;
}

static size_t bits_of(struct bytes number)
{
    size_t bits = number.size * 8;
    if (number.size > 0)
        bits -= (size_t)__builtin_clz((unsigned char)number.data[0]) - 24;
    return bits;
}

/* An exponent of 1 would let everybody sign. */
static bool is_sane_exponent(struct bytes exponent)
{
    return exponent.size >= 1 && exponent.size <= EXPONENT_BYTES && bits_of(exponent) > 1 &&
           (exponent.data[exponent.size - 1] & 1) == 1;
}

bool key_set_add_secret(struct key_set *set, struct bytes secret, struct error *err)
{
    cjose_jwk_t *jwk = cjose_jwk_create_oct_spec((const uint8_t *)secret.data, secret.size, NULL);
    return add(set, JWT_HS256, NULL, jwk, err);
}

bool key_set_add_rsa(struct key_set *set, const char *kid, struct bytes modulus,
                     struct bytes exponent, struct error *err)
{
    struct bytes n = without_leading_zeros(modulus);
    struct bytes e = without_leading_zeros(exponent);
    if (bits_of(n) < RSA_BITS_MIN || bits_of(n) > RSA_BITS_MAX)
        return error_set(err, "an RSA key of %zu bits: expected %d to %d", bits_of(n), RSA_BITS_MIN,
                         RSA_BITS_MAX);
    if (!is_sane_exponent(e))
        return error_set(err, "the RSA key's exponent is not usable: expected 65537");
    const cjose_jwk_rsa_keyspec spec = {
        .n = (uint8_t *)n.data, .nlen = n.size, .e = (uint8_t *)e.data, .elen = e.size};
    return add(set, JWT_RS256, kid, cjose_jwk_create_RSA_spec(&spec, NULL), err);
}

bool key_set_add_p256(struct key_set *set, const char *kid, struct bytes x, struct bytes y,
                      struct error *err)
{
    if (x.size != P256_BYTES || y.size != P256_BYTES)
        return error_set(err, "the coordinates of a P-256 key have %d bytes each", P256_BYTES);
    const cjose_jwk_ec_keyspec spec = {.crv = CJOSE_JWK_EC_P_256,
                                       .x = (uint8_t *)x.data,
                                       .xlen = x.size,
                                       .y = (uint8_t *)y.data,
                                       .ylen = y.size};
    return add(set, JWT_ES256, kid, cjose_jwk_create_EC_spec(&spec, NULL), err);
}

/* ---- choosing ---- */

bool key_set_allows(const struct key_set *set, enum jwt_algorithm algorithm)
{
    for (size_t i = 0; i < set->n_keys; i++) {
        if (set->keys[i].algorithm == algorithm)
            return true;
    }
    return false;
}

const struct key *key_set_find(const struct key_set *set, enum jwt_algorithm algorithm,
                               const char *kid)
{
    const struct key *found = NULL;
    size_t n_fitting = 0;
    for (size_t i = 0; i < set->n_keys; i++) {
        const struct key *key = &set->keys[i];
        if (key->algorithm != algorithm)
            continue;
        if (kid && key->kid && strcmp(kid, key->kid) == 0)
            return key;
        if (!kid || !key->kid) {
            found = key;
            n_fitting++;
        }
    }
    return n_fitting == 1 ? found : NULL;
}
