/* Addresses of clients, also of those behind proxies. */
#ifndef HTTP_ADDRESS_H
#define HTTP_ADDRESS_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/error.h"

struct sockaddr;
struct proxies; /* TRUSTED_PROXIES; never changes once made, so threads share it */

/* An IPv6 address; an IPv4 address as ::ffff:a.b.c.d. */
struct address {
    unsigned char bytes[16];
};

/* False: neither IPv4 nor IPv6. */
bool address_of_socket(const struct sockaddr *socket, struct address *address);
/* "192.0.2.1", "2001:db8::1"; as proxies write them also with a port: "192.0.2.1:80",
 * "[2001:db8::1]:80". */
bool address_parse(struct bytes text, struct address *address);
bool address_is_v4(const struct address *address);

/* `list` is a comma list of addresses and CIDR blocks; "" or NULL: nobody is trusted. NULL with
 * `err`, which names the entry that is malformed. */
struct proxies *proxies_new(const char *list, struct error *err)
    __attribute__((warn_unused_result));
void proxies_free(struct proxies *proxies); /* NULL is accepted */
bool proxies_trust(const struct proxies *proxies, const struct address *address);

/* The client that the request comes from: the peer, and while that is a trusted proxy, whom it says
 * that it had the request from. `forwarded` is all of X-Forwarded-For, in the order in which it
 * came, or NULL. An entry that is no address ends the way at the proxy that wrote it. */
struct address proxies_client(const struct proxies *proxies, struct address peer,
                              const char *forwarded);

#endif
