#include "http/rate.h"

#include <math.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/hash.h"
#include "base/memory.h"

#define WAYS   8 /* places that a key may be in */
#define SETS   (RATE_BUCKETS / WAYS)
#define SHARDS 64

#define NS_PER_S        1000000000.0
#define INTERVAL_NS_MAX (3600 * NS_PER_S) /* with any burst, times stay far below INT64_MAX */

/* A bucket is kept as one time: when it will be full. A request moves that by the interval in which
 * a token comes, and is allowed while it lies no further ahead than all tokens together. A bucket
 * that was never used has been full since 0. */
struct bucket {
    struct rate_key key;
    int64_t full_ns;
};

struct rate {
    int burst;
    int64_t interval_ns; /* in which one token comes */
    uint64_t seed;       /* so that nobody can choose who shares a set */
    pthread_mutex_t locks[SHARDS];
    struct bucket buckets[SETS][WAYS];
};

/* ---- keys ---- */

struct rate_key rate_key_of_subject(struct bytes subject)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    struct rate_key key;
    SHA256((const unsigned char *)subject.data, subject.size, digest);
    memcpy(key.bytes, digest, sizeof key.bytes);
    return key;
}

struct rate_key rate_key_of_address(const struct address *address)
{
    struct rate_key key = {{0}};
    memcpy(key.bytes, address->bytes, address_is_v4(address) ? sizeof key.bytes : 8);
    return key;
}

/* ---- life ---- */

struct rate *rate_new(double per_second, int burst)
{
    struct rate *rate = memory_zero(1, sizeof *rate);
    rate->burst = burst > 0 ? burst : (int)ceil(2 * per_second);
    rate->interval_ns = (int64_t)fmax(1, fmin(NS_PER_S / per_second, INTERVAL_NS_MAX));
    if (getrandom(&rate->seed, sizeof rate->seed, 0) != sizeof rate->seed)
        die("no random bytes");
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&rate->locks[i], NULL);
    return rate;
}

void rate_free(struct rate *rate)
{
    if (!rate)
        return;
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_destroy(&rate->locks[i]);
    free(rate);
}

/* ---- buckets ---- */

/* The key's own bucket, or the fullest of its set, made its own. */
static struct bucket *find_bucket(struct bucket *set, const struct rate_key *key)
{
    struct bucket *fullest = set;
    for (size_t i = 0; i < WAYS; i++) {
        if (memcmp(&set[i].key, key, sizeof *key) == 0)
            return &set[i];
        if (set[i].full_ns < fullest->full_ns)
            fullest = &set[i];
    }
    *fullest = (struct bucket){.key = *key};
    return fullest;
}

static int seconds(int64_t ns)
{
    return (int)fmin(ceil((double)ns / NS_PER_S), INT32_MAX);
}

static struct rate_verdict take(const struct rate *rate, struct bucket *bucket, int64_t now_ns)
{
    int64_t full_ns = bucket->full_ns > now_ns ? bucket->full_ns : now_ns;
    int64_t late_ns = full_ns + rate->interval_ns - rate->burst * rate->interval_ns - now_ns;
    struct rate_verdict verdict = {.allowed = late_ns <= 0, .limit = rate->burst};
    if (verdict.allowed) {
        full_ns += rate->interval_ns;
        verdict.remaining = (int)(-late_ns / rate->interval_ns);
    } else {
        verdict.retry_after_s = seconds(late_ns);
    }
    verdict.reset_s = seconds(full_ns - now_ns);
    bucket->full_ns = full_ns;
    return verdict;
}

struct rate_verdict rate_take(struct rate *rate, const struct rate_key *key, int64_t now_us)
{
    size_t set =
        hash_bytes(rate->seed, bytes_of((const char *)key->bytes, sizeof key->bytes)) % SETS;
    pthread_mutex_t *lock = &rate->locks[set % SHARDS];
    pthread_mutex_lock(lock);
    struct rate_verdict verdict = take(rate, find_bucket(rate->buckets[set], key), now_us * 1000);
    pthread_mutex_unlock(lock);
    return verdict;
}
