#include "ingest/trail.h"

#include <stdlib.h>

#include "base/hash.h"

/* Stored and compared by later versions: it may not change. */
static int64_t hash_message(const struct message *message)
{
    char sizes[64], hex[SHA256_HEX_SIZE];
    int n = snprintf(sizes, sizeof(sizes), "%lld %lld ",
                     message->key.data ? (long long)message->key.size : -1LL,
                     message->payload.data ? (long long)message->payload.size : -1LL);
    struct sha256 *digest = sha256_new();
    sha256_add(digest, bytes_of(sizes, (size_t)n));
    sha256_add(digest, message->key);
    sha256_add(digest, message->payload);
    sha256_finish(digest, hex);
    hex[16] = '\0'; /* 64 bits */
    return (int64_t)strtoull(hex, NULL, 16);
}

struct mark mark_of_message(const struct message *message)
{
    return (struct mark){.is_set = true,
                         .offset = message->offset,
                         .time_ms = message->timestamp_ms,
                         .hash = hash_message(message)};
}

bool mark_is_same(const struct mark *a, const struct mark *b)
{
    return a->offset == b->offset && a->time_ms == b->time_ms && a->hash == b->hash;
}

void trail_begin(struct trail *trail, const struct marks *kept)
{
    *trail = (struct trail){.kept = *kept, .has_sample_due = true};
}

enum trail_verdict trail_judge(const struct marks *kept, const struct trail_found *recent,
                               const struct trail_found *oldest)
{
    if (recent->what == FOUND_SILENT)
        return TRAIL_SILENT;
    if (recent->what == FOUND_GONE)
        return TRAIL_UNKNOWN;
    if (mark_is_same(&kept->recent, &recent->mark))
        return TRAIL_SAME;
    if (kept->oldest.offset == kept->recent.offset)
        return TRAIL_ANEW;
    if (oldest->what == FOUND_SILENT)
        return TRAIL_SILENT;
    if (oldest->what == FOUND_GONE || mark_is_same(&kept->oldest, &oldest->mark))
        return TRAIL_CHANGED;
    return TRAIL_ANEW;
}

void trail_choose(struct trail *trail, int64_t stored)
{
    if (!trail->sample.is_set || trail->sample.offset >= stored)
        return;
    trail->candidate = trail->sample;
    trail->sample.is_set = false;
    trail->has_sample_due = true;
}

void trail_advance(struct trail *trail, enum trail_verdict verdict, int64_t low)
{
    struct marks *kept = &trail->kept;
    struct mark former = kept->recent;
    if (!trail->candidate.is_set && (verdict == TRAIL_SAME || !former.is_set))
        return;
    kept->recent = trail->candidate;
    trail->candidate.is_set = false;
    if (!kept->oldest.is_set || kept->oldest.offset < low)
        kept->oldest = verdict == TRAIL_SAME && former.offset >= low ? former : kept->recent;
    if (!kept->recent.is_set)
        kept->oldest.is_set = false;
    trail->is_unsaved = true;
}
