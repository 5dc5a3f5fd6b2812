/* The keys that tokens are verified with. A set never changes after it was made, so threads share
 * it and a new file means a new set; it is counted, and freed by whoever lets go of it last. */
#ifndef HTTP_KEYS_H
#define HTTP_KEYS_H

#include <cjose/cjose.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "base/error.h"

#define KEYS_MAX 64 /* of one set */

enum jwt_algorithm { JWT_HS256, JWT_RS256, JWT_ES256, JWT_ALGORITHMS };

const char *jwt_algorithm_name(enum jwt_algorithm algorithm);
/* False: none of those that are known here; "none" is never one. */
bool jwt_algorithm_parse(const char *name, enum jwt_algorithm *algorithm);

/* A key verifies one algorithm only: the token's word is compared with it and never followed. */
struct key {
    enum jwt_algorithm algorithm;
    char *kid; /* owned; NULL: it has none */
    cjose_jwk_t *jwk;
};

struct key_set {
    atomic_int holds;
    size_t n_keys;
    struct key keys[KEYS_MAX];
};

struct key_set *key_set_new(void);
struct key_set *key_set_hold(struct key_set *set);
void key_set_release(struct key_set *set); /* NULL is accepted */

/* These check and add one key. False with `err`: too weak, malformed, one too many, or there is one
 * of that kid already. Numbers are big-endian; `kid` is copied, NULL: none. */
bool key_set_add_secret(struct key_set *set, struct bytes secret, struct error *err)
    __attribute__((warn_unused_result));
bool key_set_add_rsa(struct key_set *set, const char *kid, struct bytes modulus,
                     struct bytes exponent, struct error *err) __attribute__((warn_unused_result));
bool key_set_add_p256(struct key_set *set, const char *kid, struct bytes x, struct bytes y,
                      struct error *err) __attribute__((warn_unused_result));

/* True when some key verifies `algorithm`. */
bool key_set_allows(const struct key_set *set, enum jwt_algorithm algorithm);
/* The key for a token that names `kid` (NULL: none): the one of that kid; a key without one fits
 * any token. A token without a kid gets a key only when there is no choice. NULL: none. */
const struct key *key_set_find(const struct key_set *set, enum jwt_algorithm algorithm,
                               const char *kid);

#endif
