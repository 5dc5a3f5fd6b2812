/* SHA-256 for naming content (libcrypto's), and a fast hash for tables in memory. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define SHA256_HEX_SIZE 65 /* 64 hexadecimal digits and a NUL */

struct sha256; /* a digest being built */

struct sha256 *sha256_new(void);
void sha256_add(struct sha256 *digest, struct bytes bytes);
/* Writes the digest and releases it. */
void sha256_finish(struct sha256 *digest, char hex[SHA256_HEX_SIZE]);

/* Good spread, not for use against an adversary. Chain by passing the result as `seed`. */
uint64_t hash_bytes(uint64_t seed, struct bytes bytes);
#define HASH_HEX_SIZE 16
/* Writes it as HASH_HEX_SIZE digits, without a NUL. */
void hash_hex(uint64_t hash, char *digits);

#endif
