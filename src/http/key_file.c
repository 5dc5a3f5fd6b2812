#include "http/key_file.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"

#define FILE_BYTES_MAX   ((size_t)1024 * 1024)
#define NUMBER_BYTES_MAX ((size_t)2048) /* far beyond the largest key that is taken */

static bool is_wanted(const char *wanted, enum jwt_algorithm algorithm)
{
    return !wanted || !*wanted || strcmp(wanted, jwt_algorithm_name(algorithm)) == 0;
}

/* ---- PEM ---- */

static struct bytes number_of(const EVP_PKEY *pkey, const char *name, size_t size_min, char *room)
{
    BIGNUM *number = NULL;
    if (EVP_PKEY_get_bn_param(pkey, name, &number) != 1)
        return (struct bytes){0};
    size_t size = (size_t)BN_num_bytes(number);
    size_t padded = size < size_min ? size_min : size;
    struct bytes bytes = {0};
    if (padded <= NUMBER_BYTES_MAX &&
        BN_bn2binpad(number, (unsigned char *)room, (int)padded) == (int)padded)
        bytes = bytes_of(room, padded);
    BN_free(number);
    return bytes;
}

static bool is_p256(const EVP_PKEY *pkey)
{
    char group[64];
    size_t size;
    return EVP_PKEY_is_a(pkey, "EC") == 1 &&
           EVP_PKEY_get_group_name(pkey, group, sizeof group, &size) == 1 &&
           strcmp(group, SN_X9_62_prime256v1) == 0;
}

static bool add_pkey(struct key_set *set, const EVP_PKEY *pkey, const char *wanted,
                     struct error *err)
{
    char a[NUMBER_BYTES_MAX], b[NUMBER_BYTES_MAX];
    bool is_rsa = EVP_PKEY_is_a(pkey, "RSA") == 1;
    if (!is_rsa && !is_p256(pkey))
        return error_set(err, "expected an RSA key (RS256) or an EC key on P-256 (ES256)");
    enum jwt_algorithm algorithm = is_rsa ? JWT_RS256 : JWT_ES256;
    if (!is_wanted(wanted, algorithm))
        return error_set(err, "it holds a key for %s, and JWT_ALGORITHM is %s",
                         jwt_algorithm_name(algorithm), wanted);
    if (is_rsa)
        return key_set_add_rsa(set, NULL, number_of(pkey, OSSL_PKEY_PARAM_RSA_N, 0, a),
                               number_of(pkey, OSSL_PKEY_PARAM_RSA_E, 0, b), err);
    return key_set_add_p256(set, NULL, number_of(pkey, OSSL_PKEY_PARAM_EC_PUB_X, 32, a),
                            number_of(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, 32, b), err);
}

static EVP_PKEY *decode_pem(const char *label, const unsigned char *data, long size)
{
    if (strcmp(label, PEM_STRING_PUBLIC) == 0)
        return d2i_PUBKEY(NULL, &data, size);
    if (strcmp(label, PEM_STRING_RSA_PUBLIC) == 0)
        return d2i_PublicKey(EVP_PKEY_RSA, NULL, &data, size);
    if (strcmp(label, PEM_STRING_X509) != 0)
        return NULL;
    X509 *certificate = d2i_X509(NULL, &data, size);
    EVP_PKEY *pkey = certificate ? X509_get_pubkey(certificate) : NULL;
    X509_free(certificate);
    return pkey;
}

static bool add_pem_block(struct key_set *set, const char *label, const unsigned char *data,
                          long size, const char *wanted, struct error *err)
{
    if (strstr(label, "PRIVATE KEY"))
        return error_set(err, "it holds a private key, which must not be here: expected the public "
                              "one");
    if (set->n_keys > 0)
        return error_set(err, "it holds more than one key: several keys go into a JSON Web Key Set "
                              "and are told apart by kid");
    EVP_PKEY *pkey = decode_pem(label, data, size);
    if (!pkey)
        return error_set(err, "\"%.64s\" is no public key that can be read", label);
    bool ok = add_pkey(set, pkey, wanted, err);
    EVP_PKEY_free(pkey);
    return ok;
}

static bool add_pem(struct key_set *set, struct bytes text, const char *wanted, struct error *err)
{
    BIO *bio = BIO_new_mem_buf(text.data, (int)text.size);
    char *label = NULL, *header = NULL;
    unsigned char *data = NULL;
    long size;
    bool ok = true;
    if (!bio)
        die("out of memory: reading a key");
    while (ok && PEM_read_bio(bio, &label, &header, &data, &size) == 1) {
        ok = add_pem_block(set, label, data, size, wanted, err);
        OPENSSL_free(label);
        OPENSSL_free(header);
        OPENSSL_clear_free(data, (size_t)size);
    }
    BIO_free(bio);
    ERR_clear_error();
    if (ok && set->n_keys == 0)
        return error_set(err, "it holds neither a PEM public key nor a JSON Web Key");
    return ok;
}

/* ---- JSON Web Keys ---- */

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static bool read_number(const json_t *jwk, const char *name, uint8_t **number, struct bytes *bytes,
                        struct error *err)
{
    const char *text = text_of(jwk, name);
    size_t size = 0;
    if (!text || !*text || !cjose_base64url_decode(text, strlen(text), number, &size, NULL))
        return error_set(err, "\"%s\" is missing or not base64url", name);
    *bytes = bytes_of((const char *)*number, size);
    return true;
}

/* RFC 7517: a key for encryption, for other operations or of another algorithm is not ours. */
static bool is_for_verifying(const json_t *jwk, enum jwt_algorithm algorithm)
{
    const char *use = text_of(jwk, "use");
    const char *alg = text_of(jwk, "alg");
    const json_t *operations = json_object_get(jwk, "key_ops");
    bool verifies = !operations;
    for (size_t i = 0; i < json_array_size(operations); i++) {
        const char *operation = json_string_value(json_array_get(operations, i));
        verifies |= operation && strcmp(operation, "verify") == 0;
    }
    return verifies && (!use || strcmp(use, "sig") == 0) &&
           (!alg || strcmp(alg, jwt_algorithm_name(algorithm)) == 0);
}

/* Symmetric keys are none of ours whatever they say: a public file holds no secrets. */
static bool algorithm_of(const json_t *jwk, enum jwt_algorithm *algorithm)
{
    const char *type = text_of(jwk, "kty");
    const char *curve = text_of(jwk, "crv");
    bool is_rsa = type && strcmp(type, "RSA") == 0;
    bool is_ec = type && strcmp(type, "EC") == 0 && curve && strcmp(curve, "P-256") == 0;
    *algorithm = is_rsa ? JWT_RS256 : JWT_ES256;
    return is_rsa || is_ec;
}

static bool add_jwk(struct key_set *set, const json_t *jwk, const char *wanted, struct error *err)
{
    enum jwt_algorithm algorithm;
    uint8_t *first = NULL, *second = NULL;
    struct bytes a, b;
    if (!algorithm_of(jwk, &algorithm) || !is_for_verifying(jwk, algorithm) ||
        !is_wanted(wanted, algorithm))
        return true;
    if (json_object_get(jwk, "d"))
        return error_set(err, "it is a private key, which must not be here");
    const char *kid = text_of(jwk, "kid");
    bool is_rsa = algorithm == JWT_RS256;
    bool ok =
        read_number(jwk, is_rsa ? "n" : "x", &first, &a, err) &&
        read_number(jwk, is_rsa ? "e" : "y", &second, &b, err) &&
        (is_rsa ? key_set_add_rsa(set, kid, a, b, err) : key_set_add_p256(set, kid, a, b, err));
    free(second);
    free(first);
    return ok;
}

static bool add_jwks(struct key_set *set, struct bytes text, const char *wanted, struct error *err)
{
    json_error_t where;
    json_t *root = json_loadb(text.data, text.size, JSON_REJECT_DUPLICATES, &where);
    if (!root)
        return error_set(err, "line %d: %s", where.line, where.text);
    const json_t *keys = json_object_get(root, "keys");
    bool ok = true;
    if (!keys) {
        ok = add_jwk(set, root, wanted, err);
    } else if (!json_is_array(keys)) {
        ok = error_set(err, "\"keys\" is no array");
    }
    for (size_t i = 0; ok && i < json_array_size(keys); i++) {
        ok = add_jwk(set, json_array_get(keys, i), wanted, err);
        if (!ok)
            error_context(err, "key number %zu", i + 1);
    }
    json_decref(root);
    if (ok && set->n_keys == 0)
        return error_set(err, "it holds no key that verifies %s",
                         wanted && *wanted ? wanted : "RS256 or ES256");
    return ok;
}

/* ---- the file ---- */

static bool read_file(const char *path, struct buffer *text, struct error *err)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(err, "%s", strerror(errno));
    text->size += fread(buffer_reserve(text, FILE_BYTES_MAX + 1), 1, FILE_BYTES_MAX + 1, file);
    bool is_read = !ferror(file) || error_set(err, "%s", strerror(errno));
    fclose(file);
    return is_read && (text->size <= FILE_BYTES_MAX ||
                       error_set(err, "it is larger than %zu bytes", FILE_BYTES_MAX));
}

struct key_set *key_file_read(const char *path, const char *algorithm, struct error *err)
{
    struct buffer text = {0};
    struct key_set *set = key_set_new();
    bool ok = read_file(path, &text, err);
    if (ok) {
        size_t blank = 0;
        while (blank < text.size && strchr(" \t\r\n", text.data[blank]))
            blank++;
        bool is_json = blank < text.size && text.data[blank] == '{';
        ok = is_json ? add_jwks(set, buffer_bytes(&text), algorithm, err)
                     : add_pem(set, buffer_bytes(&text), algorithm, err);
    }
    buffer_free(&text);
    if (ok)
        return set;
    error_context(err, "the key file %s", path);
    key_set_release(set);
    return NULL;
}
