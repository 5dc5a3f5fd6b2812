// C++ for what only C++ has: simdjson's tokens for C. Built without exceptions; simdjson reports by
// error codes. On the tokens of json_iterator rather than on On-Demand's values: see json.h.
#include "message/json.h"

#include <simdjson.h>

#include <new>

extern "C" {
#include "base/utf8.h"
#include "model/value.h"
}

using simdjson::ondemand::json_iterator;

static_assert(JSON_PADDING >= simdjson::SIMDJSON_PADDING, "simdjson reads further than we pad");

struct json_parser {
    simdjson::ondemand::parser simdjson;
};

namespace
{

constexpr size_t NOWHERE = SIZE_MAX; // the place of a value that nobody asked for
constexpr size_t MIN_CAPACITY = 4096;

struct walk {
    json_iterator tokens;
    char *text;
    size_t size;
    const json_place *places;
    json_found *found;
    json_fault *fault;
    bool has_escapes; // there is a backslash somewhere; most texts have none
};

// A token with what follows it up to the next one (white space, or a scalar's rest).
struct token {
    char *text;
    size_t size;
};

bool fail(walk &w, const char *at, const char *what)
{
    w.fault->at = at - w.text;
    w.fault->what = w.fault->at < w.size ? what : "the text ends too early";
    return false;
}

// At the end of the text, a token of size 0 whose byte is the padding's NUL: no rule accepts it.
token take_token(walk &w)
{
    if (w.tokens.at_end())
        return {w.text + w.size, 0};
    size_t size = w.tokens.peek_length();
    return {w.text + (w.tokens.return_current_and_advance() - (const uint8_t *)w.text), size};
}

bool is_space(char byte)
{
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

size_t trimmed_size(const token &token)
{
    size_t size = token.size;
    while (size > 0 && is_space(token.text[size - 1]))
        size--;
    return size;
}

// Four hexadecimal digits, or -1. Stops at the first that is none, so never behind the quote.
int32_t read_hex4(const char *text)
{
    int32_t code = 0;
    for (int i = 0; i < 4; i++) {
        char digit = text[i];
        if (digit >= '0' && digit <= '9')
            code = code * 16 + (digit - '0');
        else if ((digit | 0x20) >= 'a' && (digit | 0x20) <= 'f')
            code = code * 16 + ((digit | 0x20) - 'a' + 10);
        else
            return -1;
    }
    return code;
}

char *write_utf8(char *out, int32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    }
    return out;
}

// The \uXXXX at `in`, with its second half where it is a surrogate: size read, or 0 when it is
// wrong.
size_t decode_unicode(const char *in, char **out)
{
    int32_t code = read_hex4(in + 2);
    if (code < 0 || (code >= 0xdc00 && code < 0xe000))
        return 0;
    if (code < 0xd800 || code >= 0xe000) {
        *out = write_utf8(*out, code);
        return 6;
    }
    if (in[6] != '\\' || in[7] != 'u')
        return 0;
    int32_t low = read_hex4(in + 8);
    if (low < 0xdc00 || low >= 0xe000)
        return 0;
    *out = write_utf8(*out, 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00));
    return 12;
}

// The escape at `in`: size read, or 0 when there is no such escape.
size_t decode_escape(const char *in, char **out)
{
    char plain = 0;
    switch (in[1]) {
    case 'u':
        return decode_unicode(in, out);
    case '"':
    case '\\':
    case '/':
        plain = in[1];
        break;
    case 'b':
        plain = '\b';
        break;
    case 'f':
        plain = '\f';
        break;
    case 'n':
        plain = '\n';
        break;
    case 'r':
        plain = '\r';
        break;
    case 't':
        plain = '\t';
        break;
    default:
        return 0;
    }
    *(*out)++ = plain;
    return 2;
}

// Decodes the text between two quotes in place: it never becomes longer.
bool decode_string(walk &w, char *text, size_t size, size_t *decoded_size)
{
    *decoded_size = size;
    char *in = w.has_escapes ? (char *)memchr(text, '\\', size) : nullptr;
    if (!in)
        return true;
    char *out = in;
    const char *end = text + size;
    while (in < end) {
        if (*in != '\\') {
            *out++ = *in++;
            continue;
        }
        size_t escape_size = decode_escape(in, &out);
        if (escape_size == 0)
            return fail(w, in, "no such escape in a string");
        in += escape_size;
    }
    *decoded_size = out - text;
    return true;
}

// A token that begins with a quote: its size with both quotes, and that of the text in it.
bool take_string(walk &w, const token &token, size_t *size, size_t *content_size)
{
    *size = trimmed_size(token);
    if (*size < 2 || token.text[*size - 1] != '"')
        return fail(w, token.text, "a string is not closed");
    return decode_string(w, token.text + 1, *size - 2, content_size);
}

// The key of a place is never empty. Most differ in the first byte already.
bool same_key(const bytes &wanted, const bytes &key)
{
    return wanted.size == key.size && wanted.data[0] == key.data[0] &&
           memcmp(wanted.data, key.data, key.size) == 0;
}

// The place below `place` that `key` leads to. What an earlier duplicate left there is forgotten.
size_t enter_place(walk &w, size_t place, bytes key)
{
    if (place == NOWHERE)
        return NOWHERE;
    const size_t end = w.places[place].end;
    for (size_t child = place + 1; child < end; child = w.places[child].end) {
        if (!same_key(w.places[child].key, key))
            continue;
        if (w.found[child].kind != FOUND_NOTHING)
            for (size_t i = child; i < w.places[child].end; i++)
                w.found[i].kind = FOUND_NOTHING;
        return child;
    }
    return NOWHERE;
}

void note(walk &w, size_t place, json_kind kind, const char *text, size_t size,
          size_t content_size = 0)
{
    if (place == NOWHERE)
        return;
    json_found &found = w.found[place];
    found.at = (uint32_t)(text - w.text);
    found.size = (uint32_t)size;
    found.content_size = (uint32_t)content_size;
    found.kind = kind;
}

bool walk_value(walk &w, token token, size_t place, unsigned depth);

// From the byte after '{'; leaves the iterator behind '}' and *end there too.
bool walk_object(walk &w, size_t place, unsigned depth, const char **end)
{
    token token = take_token(w);
    if (*token.text == '}') {
        *end = token.text + 1;
        return true;
    }
    for (;;) {
        if (*token.text != '"')
            return fail(w, token.text, "a key in quotes is expected");
        size_t size, key_size;
        if (!take_string(w, token, &size, &key_size))
            return false;
        size_t child = enter_place(w, place, bytes_of(token.text + 1, key_size));
        token = take_token(w);
        if (*token.text != ':')
            return fail(w, token.text, "':' is expected after a key");
        if (!walk_value(w, take_token(w), child, depth))
            return false;
        token = take_token(w);
        *end = token.text + 1;
        if (*token.text == '}')
            return true;
        if (*token.text != ',')
            return fail(w, token.text, "',' or '}' is expected");
        token = take_token(w);
    }
}

// From the byte after '['; nobody asks for places inside an array.
bool walk_array(walk &w, unsigned depth, const char **end)
{
    token token = take_token(w);
    if (*token.text == ']') {
        *end = token.text + 1;
        return true;
    }
    for (;;) {
        if (!walk_value(w, token, NOWHERE, depth))
            return false;
        token = take_token(w);
        *end = token.text + 1;
        if (*token.text == ']')
            return true;
        if (*token.text != ',')
            return fail(w, token.text, "',' or ']' is expected");
        token = take_token(w);
    }
}

bool walk_literal(walk &w, const token &token, size_t place, bytes literal, json_kind kind)
{
    size_t size = trimmed_size(token);
    if (!bytes_equal(bytes_of(token.text, size), literal))
        return fail(w, token.text, "no JSON value begins so");
    note(w, place, kind, token.text, size);
    return true;
}

bool walk_number(walk &w, const token &token, size_t place)
{
    size_t size = trimmed_size(token);
    bool may_be_number = *token.text == '-' || (*token.text >= '0' && *token.text <= '9');
    if (!may_be_number)
        return fail(w, token.text, "no JSON value begins so");
    if (!value_is_numeric(bytes_of(token.text, size)))
        return fail(w, token.text, "a number is malformed");
    note(w, place, FOUND_NUMBER, token.text, size);
    return true;
}

bool walk_string(walk &w, const token &token, size_t place)
{
    size_t size, content_size;
    if (!take_string(w, token, &size, &content_size))
        return false;
    note(w, place, FOUND_STRING, token.text, size, content_size);
    return true;
}

bool walk_container(walk &w, const token &token, size_t place, unsigned depth)
{
    if (depth == JSON_MAX_DEPTH)
        return fail(w, token.text, "arrays and objects are nested deeper than 64");
    const char *end;
    bool is_object = *token.text == '{';
    if (!(is_object ? walk_object(w, place, depth + 1, &end) : walk_array(w, depth + 1, &end)))
        return false;
    note(w, place, is_object ? FOUND_OBJECT : FOUND_ARRAY, token.text, end - token.text);
    return true;
}

// `depth` counts the containers around the value.
bool walk_value(walk &w, token token, size_t place, unsigned depth)
{
    switch (*token.text) {
    case '{':
    case '[':
        return walk_container(w, token, place, depth);
    case '"':
        return walk_string(w, token, place);
    case 't':
        return walk_literal(w, token, place, bytes_of("true", 4), FOUND_TRUE);
    case 'f':
        return walk_literal(w, token, place, bytes_of("false", 5), FOUND_FALSE);
    case 'n':
        return walk_literal(w, token, place, bytes_of("null", 4), FOUND_NULL);
    default:
        return walk_number(w, token, place);
    }
}

// Stage 1 says only that something is wrong; these look for the byte, on texts that are refused.
size_t find_bad_utf8(const char *text, size_t size)
{
    size_t at = 0;
    while (at < size) {
        size_t step = utf8_char_size(bytes_of(text + at, size - at));
        if (step == 0)
            break;
        at += step;
    }
    return at;
}

// The first control character inside a string, or the quote of the string that is not closed.
size_t find_bad_string(const char *text, size_t size)
{
    size_t quote = SIZE_MAX;
    for (size_t at = 0; at < size; at++) {
        if (text[at] == '"')
            quote = quote == SIZE_MAX ? at : SIZE_MAX;
        else if (quote == SIZE_MAX)
            continue;
        else if (text[at] == '\\')
            at++;
        else if ((unsigned char)text[at] < 0x20)
            return at;
    }
    return quote == SIZE_MAX ? size : quote;
}

void explain(simdjson::error_code error, const char *text, size_t size, json_fault *fault)
{
    switch (error) {
    case simdjson::UTF8_ERROR:
        *fault = {"the text is not UTF-8", find_bad_utf8(text, size)};
        break;
    case simdjson::UNESCAPED_CHARS:
        *fault = {"a control character in a string", find_bad_string(text, size)};
        break;
    case simdjson::UNCLOSED_STRING:
        *fault = {"a string is not closed", find_bad_string(text, size)};
        break;
    case simdjson::EMPTY:
        *fault = {"the text is empty", 0};
        break;
    default:
        *fault = {simdjson::error_message(error), 0};
    }
}

} // namespace

struct json_parser *json_parser_new(void)
{
    return new (std::nothrow) json_parser;
}

void json_parser_free(struct json_parser *parser)
{
    delete parser;
}

bool json_parser_reserve(struct json_parser *parser, size_t size_bytes)
{
    if (size_bytes < MIN_CAPACITY)
        size_bytes = MIN_CAPACITY;
    if (parser->simdjson.capacity() >= size_bytes)
        return true;
    return parser->simdjson.allocate(size_bytes) == simdjson::SUCCESS;
}

bool json_walk(struct json_parser *parser, char *text, size_t size, const struct json_place *places,
               struct json_found *found, struct json_fault *fault)
{
    for (size_t i = 0; i < places[0].end; i++)
        found[i].kind = FOUND_NOTHING;
    memset(text + size, 0, JSON_PADDING);
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        *fault = {"a byte order mark before the value", 0};
        return false;
    }
    walk w{{}, text, size, places, found, fault, memchr(text, '\\', size) != nullptr};
    simdjson::padded_string_view padded(text, size, size + JSON_PADDING);
    simdjson::error_code error = parser->simdjson.iterate_raw(padded).get(w.tokens);
    if (error) {
        explain(error, text, size, fault);
        return false;
    }
    if (!walk_value(w, take_token(w), 0, 0))
        return false;
    if (!w.tokens.at_end())
        return fail(w, take_token(w).text, "something follows the value");
    return true;
}
