/* Who is asking: "Authorization: Bearer <JSON Web Token>" (RFC 6750, 7519), signed with JWT_SECRET
 * (HS256) or by the owner of a key in JWT_PUBLIC_KEY_FILE (RS256, ES256). With neither set,
 * everybody passes.
 *
 * What verifies a token follows from the settings alone: the token's own word about its algorithm
 * is compared with the configured keys before anything is verified, and its words about where keys
 * may be found are not read. Tokens are never logged. */
#ifndef HTTP_AUTH_H
#define HTTP_AUTH_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/error.h"
#include "config/settings.h"
#include "metrics/metrics.h"

#define AUTH_TOKEN_BYTES_MAX 8192

struct auth;

enum auth_outcome {
    AUTH_PASSED,
    AUTH_NO_TOKEN,    /* no Authorization header, or another scheme */
    AUTH_OVERSIZED,   /* more than AUTH_TOKEN_BYTES_MAX */
    AUTH_MALFORMED,   /* no signed token, or a claim of the wrong type */
    AUTH_ALGORITHM,   /* not one that the configured keys are for */
    AUTH_UNKNOWN_KEY, /* its kid names no key, or it has none where there are several keys */
    AUTH_SIGNATURE,
    AUTH_NO_EXPIRY,
    AUTH_EXPIRED,
    AUTH_NOT_YET, /* nbf */
    AUTH_ISSUER,
    AUTH_AUDIENCE,
    AUTH_OUTCOMES,
};

struct auth_result {
    enum auth_outcome outcome;
    /* AUTH_PASSED, in the arena; both absent when authentication is off */
    struct bytes claims;  /* a JSON object */
    struct bytes subject; /* `sub`; absent when there is none */
    /* otherwise: 401 with */
    const char *text;      /* what to say; a literal */
    const char *challenge; /* the value of WWW-Authenticate; in the arena */
};

/* Reads the keys and says in the log what will be asked of requests, also when that is nothing.
 * NULL with `err`: the key file cannot be used. `settings` and `metrics` live longer. Main thread,
 * at start. */
struct auth *auth_new(const struct settings *settings, struct metrics *metrics, struct error *err)
    __attribute__((warn_unused_result));
void auth_free(struct auth *auth); /* NULL is accepted */

/* Requests need a token. */
bool auth_is_on(const struct auth *auth);

/* Reads the key file again; tokens are verified with what is in it from then on. False with `err`
 * (NULL is accepted): the file cannot be used and the keys stay as they are. The log says so in
 * both cases. Main thread. */
bool auth_reload(struct auth *auth, struct error *err);

/* `authorization` is the header's value, NULL when there is none. Counts refusals as
 * core_service_http_auth_refused_total{reason}. Any thread. */
void auth_check(struct auth *auth, const char *authorization, struct arena *arena,
                struct auth_result *result);

#endif
