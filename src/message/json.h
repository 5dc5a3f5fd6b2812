/* Strict JSON over simdjson: one walk over a text that checks all of it and notes what stands at
 * the places somebody asked for. The adapter (json.cc) is the only C++ in the tree; nothing here
 * throws.
 *
 * simdjson finds the tokens and checks UTF-8, quotes and control characters (its stage 1); the
 * grammar over the tokens, numbers, literals, escapes and depth are checked here. Why not by
 * On-Demand's values: visiting all of a message with them takes 2 to 3 times as long as going over
 * the same tokens, and it leaves exactly these checks to its caller (numbers and literals nobody
 * asks for, escapes in keys, lone low surrogates). The DOM is quick, but it refuses integers beyond
 * 64 bits and forgets how a number was written. Measured for the six messages of
 * spec/fixtures/market_data.jsonl (118 to 302 bytes), one core, us a message:
 *   stage 1 alone                                        0.03
 *   tokens, grammar only                                 0.06 - 0.11
 *   On-Demand, every value visited, none checked         0.15 - 0.34
 *   DOM                                                  0.10 - 0.18
 *   json_walk(), everything checked, with the copy       0.17 - 0.32   (bench/reader.c)
 *   reader_read(), eight to ten typed fields             0.36 - 0.61   (bench/reader.c)
 *   jansson                                              2.1  - 4.7    (bench/reader.c) */
#ifndef MESSAGE_JSON_H
#define MESSAGE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define JSON_PADDING   64 /* writable bytes that a text to be walked has behind it */
#define JSON_MAX_DEPTH 64 /* arrays and objects inside each other; deeper is refused */
#define JSON_MAX_BYTES ((size_t)1 << 30) /* of one text */

enum json_kind {
    FOUND_NOTHING, /* zero: nothing was found there */
    FOUND_NULL,
    FOUND_FALSE,
    FOUND_TRUE,
    FOUND_NUMBER,
    FOUND_STRING,
    FOUND_ARRAY,
    FOUND_OBJECT,
};

/* The places asked for: a tree of object keys, each place followed by those below it. Place 0 is
 * the whole text; the first one below place i is i + 1, the next beside it is places[i + 1].end,
 * until places[i].end. */
struct json_place {
    struct bytes key; /* decoded; without meaning for place 0 */
    size_t end;       /* index after the last place below this one */
};

/* What stands at a place, as offsets into the text. */
struct json_found {
    uint32_t at;           /* first byte of the value */
    uint32_t size;         /* of the value as it is written, quotes and brackets included */
    uint32_t content_size; /* FOUND_STRING: the decoded text, at the offset at + 1 of the text that
                              was walked (decoding happens in place) */
    enum json_kind kind;
};

struct json_fault {
    const char *what; /* static */
    size_t at;        /* offset of the byte where it shows */
};

struct json_parser; /* memory for the tokens of a text; one thread */

#ifdef __cplusplus
extern "C" {
#endif

/* NULL when there is no memory. */
struct json_parser *json_parser_new(void);
void json_parser_free(struct json_parser *parser);
/* Makes room for texts of up to `size_bytes`, which is kept. False when there is no memory. */
bool json_parser_reserve(struct json_parser *parser, size_t size_bytes);

/* Walks a text of a size that was reserved, with JSON_PADDING bytes behind it, which are
 * overwritten; strings are decoded in place. `found` has one entry for each place and is valid
 * after true. Of duplicate keys the last counts, with all that is below it. False fills `*fault`.
 */
bool json_walk(struct json_parser *parser, char *text, size_t size, const struct json_place *places,
               struct json_found *found, struct json_fault *fault);

#ifdef __cplusplus
}
#endif

#endif
