/* The bytes of a request as they come, looked at before evhttp takes them, for what evhttp does not
 * see: it ends a header's text at a NUL, and takes for the size of a chunk all that strtoll(3)
 * takes. Whoever stands in front of the service may read such a request in another way. */
#ifndef HTTP_WIRE_H
#define HTTP_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_place {
    WIRE_LINE,     /* of the head, or a trailer behind the chunks */
    WIRE_SIZE,     /* the hexadecimal size of a chunk */
    WIRE_SIZE_END, /* the line feed behind it */
    WIRE_CHUNK,    /* its bytes */
    WIRE_CHUNK_CR, /* the end of line behind them */
    WIRE_CHUNK_LF,
    WIRE_DONE, /* nothing more to see, what follows may be a body or the next request */
};

struct wire {
    enum wire_place place;
    bool is_chunked;   /* as the head says */
    bool has_chunks;   /* the lines are trailers: all chunks have come */
    size_t line_bytes; /* of the line so far, without its end */
    size_t n_matched;  /* bytes of the line that are those of "transfer-encoding:" */
    size_t n_digits;   /* of the size so far */
    uint64_t left;     /* of the chunk */
};

/* A request begins. */
void wire_begin(struct wire *wire);
/* The next bytes. NULL, or what is wrong with them: to be refused with 400. */
const char *wire_read(struct wire *wire, const char *bytes, size_t size);

#endif
