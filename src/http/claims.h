/* What a token, once its signature is verified, says about itself (RFC 7519, 4.1). */
#ifndef HTTP_CLAIMS_H
#define HTTP_CLAIMS_H

#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "http/auth.h"

struct claims_policy {
    const char *issuer;   /* that `iss` must be; "" or NULL: any */
    const char *audience; /* that `aud` must be or contain; "" or NULL: any */
    int skew_s;           /* that clocks may differ by */
};

/* `payload` is the token's middle part, decoded. `exp` is required; `nbf`, `sub` and `aud` must
 * have the right types when they are there. *subject is in the arena, absent without `sub`. */
enum auth_outcome claims_check(struct bytes payload, const struct claims_policy *policy,
                               int64_t now_ms, struct arena *arena, struct bytes *subject);

#endif
