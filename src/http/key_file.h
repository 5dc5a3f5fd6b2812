/* Public keys from a file: PEM (a public key or a certificate) or JSON Web Keys (a set, or one). */
#ifndef HTTP_KEY_FILE_H
#define HTTP_KEY_FILE_H

#include "base/error.h"
#include "http/keys.h"

/* `algorithm` "RS256" or "ES256" takes only keys for it; "" or NULL takes both. In a set, keys of
 * other kinds and for other uses are passed over, as RFC 7517 wants it; a key that looks like ours
 * and is malformed or too weak is an error, and so are private keys and a file without a usable
 * key. NULL with `err`, which names the file. Blocking; main thread. */
struct key_set *key_file_read(const char *path, const char *algorithm, struct error *err)
    __attribute__((warn_unused_result));

#endif
