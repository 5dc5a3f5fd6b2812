/* For specs that need tokens: keys and signatures made with OpenSSL alone, so that what is tested
 * is not tested by itself. */
#ifndef JWT_H
#define JWT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/buffer.h"
#include "base/memory.h"

#define JWT_SECRET_TEXT "a secret of more than thirty-two bytes"

/* What a token is signed with: one of these, or with none it has no signature. */
struct jwt_signer {
    const char *secret;
    EVP_PKEY *pkey;
};

static inline void append_base64url(struct buffer *out, const void *data, size_t size)
{
    char *text = memory_alloc(size / 3 * 4 + 5);
    int n = EVP_EncodeBlock((unsigned char *)text, data, (int)size);
    for (int i = 0; i < n && text[i] != '='; i++)
        buffer_append_byte(out, text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]);
    free(text);
}

static inline void append_raw_ecdsa(struct buffer *out, const unsigned char *der, size_t size)
{
    unsigned char raw[64];
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)size);
    assert_non_null(sig);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32);
    ECDSA_SIG_free(sig);
    append_base64url(out, raw, sizeof raw);
}

static inline void append_signature(struct buffer *out, const struct jwt_signer *signer,
                                    const char *input)
{
    unsigned char sig[1024];
    size_t size = sizeof sig;
    if (signer->secret) {
        unsigned int n;
        HMAC(EVP_sha256(), signer->secret, (int)strlen(signer->secret),
             (const unsigned char *)input, strlen(input), sig, &n);
        append_base64url(out, sig, n);
    } else if (signer->pkey) {
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, signer->pkey), 1);
        assert_int_equal(
            EVP_DigestSign(ctx, sig, &size, (const unsigned char *)input, strlen(input)), 1);
        EVP_MD_CTX_free(ctx);
        if (EVP_PKEY_is_a(signer->pkey, "EC"))
            append_raw_ecdsa(out, sig, size);
        else
            append_base64url(out, sig, size);
    }
}

/* "Bearer ..."; the caller frees it. */
static inline char *bearer(const char *header, const char *claims, struct jwt_signer signer)
{
    struct buffer input = {0};
    append_base64url(&input, header, strlen(header));
    buffer_append_byte(&input, '.');
    append_base64url(&input, claims, strlen(claims));
    char *signed_part = memory_string(input.data);
    buffer_append_byte(&input, '.');
    append_signature(&input, &signer, signed_part);
    char *text = memory_printf("Bearer %s", input.data);
    free(signed_part);
    buffer_free(&input);
    return text;
}

/* {"exp": seconds from now, what is given}; `rest` begins with a comma or is "". Valid until the
 * next call. */
static inline const char *claims_for(long from_now_s, const char *rest)
{
    static char text[16384];
    snprintf(text, sizeof text, "{\"exp\":%lld%s}", (long long)time(NULL) + from_now_s, rest);
    return text;
}

/* ---- keys ---- */

static inline void append_number(struct buffer *out, const EVP_PKEY *pkey, const char *name,
                                 int size_min)
{
    unsigned char raw[1024];
    BIGNUM *number = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(pkey, name, &number), 1);
    int size = BN_num_bytes(number) > size_min ? BN_num_bytes(number) : size_min;
    BN_bn2binpad(number, raw, size);
    BN_free(number);
    append_base64url(out, raw, (size_t)size);
}

/* A JSON Web Key; `members` is put into it: "\"kid\":\"a\"" or "". */
static inline void append_jwk(struct buffer *out, const EVP_PKEY *pkey, const char *members)
{
    bool is_rsa = EVP_PKEY_is_a(pkey, "RSA");
    buffer_append_string(out, is_rsa ? "{\"kty\":\"RSA\",\"n\":\""
                                     : "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"");
    append_number(out, pkey, is_rsa ? OSSL_PKEY_PARAM_RSA_N : OSSL_PKEY_PARAM_EC_PUB_X,
                  is_rsa ? 0 : 32);
    buffer_append_string(out, is_rsa ? "\",\"e\":\"" : "\",\"y\":\"");
    append_number(out, pkey, is_rsa ? OSSL_PKEY_PARAM_RSA_E : OSSL_PKEY_PARAM_EC_PUB_Y,
                  is_rsa ? 0 : 32);
    buffer_printf(out, "\"%s%s}", *members ? "," : "", members);
}

/* The PEM text; the caller frees it. */
static inline char *pem_of(EVP_PKEY *pkey, bool is_private)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    if (is_private)
        PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL);
    else
        PEM_write_bio_PUBKEY(bio, pkey);
    long size = BIO_get_mem_data(bio, &data);
    char *text = memory_string_n(data, (size_t)size);
    BIO_free(bio);
    return text;
}

static inline void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

#endif
