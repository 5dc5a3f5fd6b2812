#include "base/hash.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

/* struct sha256 is libcrypto's context under our name. */
static EVP_MD_CTX *context_of(struct sha256 *digest)
{
    return (EVP_MD_CTX *)digest;
}

struct sha256 *sha256_new(void)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!context || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1)
        die("libcrypto offers no SHA-256");
    return (struct sha256 *)context;
}

void sha256_add(struct sha256 *digest, struct bytes bytes)
{
    if (bytes.size && EVP_DigestUpdate(context_of(digest), bytes.data, bytes.size) != 1)
        die("SHA-256 over %zu bytes failed", bytes.size);
}

void sha256_finish(struct sha256 *digest, char hex[SHA256_HEX_SIZE])
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    if (EVP_DigestFinal_ex(context_of(digest), raw, &size) != 1 || size != 32)
        die("SHA-256 gave %u bytes", size);
    EVP_MD_CTX_free(context_of(digest));
    for (unsigned int i = 0; i < size; i++)
        snprintf(hex + 2 * i, 3, "%02x", raw[i]);
}

/* The finishing steps of a 64-bit mixer: every bit of the input moves half of the output's. */
static uint64_t mix(uint64_t word)
{
    word ^= word >> 32;
    word *= UINT64_C(0xd6e8feb86659fd93);
    word ^= word >> 32;
    word *= UINT64_C(0xd6e8feb86659fd93);
    return word ^ (word >> 32);
}

uint64_t hash_bytes(uint64_t seed, struct bytes bytes)
{
    const uint64_t step = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t hash = mix(seed ^ (bytes.size * step));
    size_t at = 0;
    while (at < bytes.size) {
        uint64_t word = 0;
        size_t size = bytes.size - at < sizeof word ? bytes.size - at : sizeof word;
        memcpy(&word, bytes.data + at, size);
        hash = mix(hash ^ word) + step;
        at += size;
    }
    return hash;
}

void hash_hex(uint64_t hash, char *digits)
{
    for (int i = 0; i < HASH_HEX_SIZE; i++)
        digits[i] = "0123456789abcdef"[hash >> (60 - 4 * i) & 0xf];
}
