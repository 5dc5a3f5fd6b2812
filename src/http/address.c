#include "http/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/memory.h"

#define V4_PREFIX_BITS 96
#define BITS           128

static const unsigned char V4_PREFIX[12] = {[10] = 0xff, [11] = 0xff};

/* ---- addresses ---- */

static struct address of_v4(const struct in_addr *v4)
{
    struct address address;
    memcpy(address.bytes, V4_PREFIX, sizeof V4_PREFIX);
    memcpy(address.bytes + sizeof V4_PREFIX, v4, sizeof *v4);
    return address;
}

bool address_is_v4(const struct address *address)
{
    return memcmp(address->bytes, V4_PREFIX, sizeof V4_PREFIX) == 0;
}

bool address_of_socket(const struct sockaddr *socket, struct address *address)
{
    if (socket->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, socket, sizeof v4);
        *address = of_v4(&v4.sin_addr);
        return true;
    }
    if (socket->sa_family != AF_INET6)
        return false;
    struct sockaddr_in6 v6;
    memcpy(&v6, socket, sizeof v6);
    memcpy(address->bytes, &v6.sin6_addr, sizeof address->bytes);
    return true;
}

/* Without brackets and port. */
static bool parse_bare(struct bytes text, struct address *address)
{
    char copy[INET6_ADDRSTRLEN];
    struct in_addr v4;
    if (text.size >= sizeof copy || memchr(text.data, '\0', text.size))
        return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    if (inet_pton(AF_INET, copy, &v4) == 1) {
        *address = of_v4(&v4);
        return true;
    }
    return inet_pton(AF_INET6, copy, address->bytes) == 1;
}

/* ":80", or nothing. */
static bool is_port(struct bytes text)
{
    if (text.size == 0)
        return true;
    for (size_t i = 1; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
    }
    return *text.data == ':' && text.size >= 2 && text.size <= 6;
}

/* `at` of them, and what follows. */
static void split(struct bytes text, size_t at, struct bytes *head, struct bytes *rest)
{
    *head = bytes_of(text.data, at);
    *rest = bytes_of(text.data + at, text.size - at);
}

bool address_parse(struct bytes text, struct address *address)
{
    struct bytes bare = text, port = {0};
    bool is_bracketed = text.size > 0 && *text.data == '[';
    const char *mark = memchr(text.data, is_bracketed ? ']' : ':', text.size);
    if (is_bracketed) {
        if (!mark)
            return false;
        split(text, (size_t)(mark + 1 - text.data), &bare, &port);
        bare = bytes_of(bare.data + 1, bare.size - 2);
    } else if (mark && memchr(text.data, '.', (size_t)(mark - text.data))) {
        split(text, (size_t)(mark - text.data), &bare, &port);
    }
    return is_port(port) && parse_bare(bare, address);
}

/* ---- proxies ---- */

struct block {
    struct address address;
    unsigned bits; /* of it that count */
};

struct proxies {
    size_t n_blocks;
    struct block blocks[];
};

static struct bytes trim(struct bytes text)
{
    while (text.size > 0 && (*text.data == ' ' || *text.data == '\t')) {
        text.data++;
        text.size--;
    }
    while (text.size > 0 && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t'))
        text.size--;
    return text;
}

/* "8" in "10.0.0.0/8", at most `max`. */
static bool parse_bits(struct bytes text, unsigned max, unsigned *bits)
{
    *bits = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        *bits = *bits * 10 + (unsigned)(text.data[i] - '0');
        if (*bits > max)
            return false;
    }
    return text.size > 0 && text.size <= 3;
}

static bool parse_block(struct bytes text, struct block *block)
{
    const char *slash = memchr(text.data, '/', text.size);
    size_t size = slash ? (size_t)(slash - text.data) : text.size;
    block->bits = BITS;
    if (!parse_bare(bytes_of(text.data, size), &block->address))
        return false;
    if (!slash)
        return true;
    bool is_v4 = !memchr(text.data, ':', size);
    unsigned offset = is_v4 ? V4_PREFIX_BITS : 0;
    if (!parse_bits(bytes_of(slash + 1, text.size - size - 1), BITS - offset, &block->bits))
        return false;
    block->bits += offset;
    return true;
}

static bool is_within(const struct address *address, const struct block *block)
{
    unsigned bytes = block->bits / 8, rest = block->bits % 8;
    if (memcmp(address->bytes, block->address.bytes, bytes) != 0)
        return false;
    if (rest == 0)
        return true;
    unsigned mask = 0xffu << (8 - rest);
    return ((address->bytes[bytes] ^ block->address.bytes[bytes]) & mask) == 0;
}

struct proxies *proxies_new(const char *list, struct error *err)
{
    size_t n = list && *list ? 1 : 0;
    for (const char *c = list; n > 0 && *c; c++)
        n += *c == ',';
    struct proxies *proxies = memory_zero(1, sizeof *proxies + n * sizeof(struct block));
    for (; proxies->n_blocks < n; proxies->n_blocks++) {
        size_t size = strcspn(list, ",");
        struct bytes entry = trim(bytes_of(list, size));
        if (!parse_block(entry, &proxies->blocks[proxies->n_blocks])) {
            error_set(err,
                      "TRUSTED_PROXIES: \"%.*s\": expected an address or a block like "
                      "10.0.0.0/8 or fd00::/8",
                      (int)(entry.size < 64 ? entry.size : 64), entry.data);
            proxies_free(proxies);
            return NULL;
        }
        list += size + 1;
    }
    return proxies;
}

void proxies_free(struct proxies *proxies)
{
    free(proxies);
}

bool proxies_trust(const struct proxies *proxies, const struct address *address)
{
    for (size_t i = 0; i < proxies->n_blocks; i++) {
        if (is_within(address, &proxies->blocks[i]))
            return true;
    }
    return false;
}

struct address proxies_client(const struct proxies *proxies, struct address peer,
                              const char *forwarded)
{
    size_t left = forwarded ? strlen(forwarded) : 0;
    while (left > 0 && proxies_trust(proxies, &peer)) {
        size_t begin = left;
        struct address sender;
        while (begin > 0 && forwarded[begin - 1] != ',')
            begin--;
        if (!address_parse(trim(bytes_of(forwarded + begin, left - begin)), &sender))
            break;
        peer = sender;
        left = begin > 0 ? begin - 1 : 0;
    }
    return peer;
}
