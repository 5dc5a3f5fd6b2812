/* How often a client may ask: a bucket of tokens for each, in a table that does not grow. With more
 * clients than fit, the fullest bucket makes room: it is the one that says least. */
#ifndef HTTP_RATE_H
#define HTTP_RATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "http/address.h"

#define RATE_BUCKETS 65536

struct rate;

/* Whose bucket. */
struct rate_key {
    unsigned char bytes[16];
};

struct rate_key rate_key_of_subject(struct bytes subject);
/* IPv6 clients by their /64, of which each has as many addresses as it likes. */
struct rate_key rate_key_of_address(const struct address *address);

/* For the headers of the same names. */
struct rate_verdict {
    bool allowed;
    int limit;         /* RateLimit-Limit: the size of a full bucket */
    int remaining;     /* RateLimit-Remaining: what is left in it */
    int reset_s;       /* RateLimit-Reset: until it is full again */
    int retry_after_s; /* Retry-After: until the next token; when not allowed */
};

/* `per_second` is above 0 (less than one an hour counts as that); `burst` is the size of a bucket,
 * 0: twice the rate. */
struct rate *rate_new(double per_second, int burst);
void rate_free(struct rate *rate); /* NULL is accepted */

/* Takes a token if there is one. `now_us` is clock_monotonic_us(). Any thread. */
struct rate_verdict rate_take(struct rate *rate, const struct rate_key *key, int64_t now_us);

#endif
