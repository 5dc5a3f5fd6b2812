#include "base/utf8.h"

static bool is_between(unsigned char byte, unsigned char low, unsigned char high)
{
    return byte >= low && byte <= high;
}

/* The range of the second byte is where overlong forms, surrogates and too large numbers show. */
static bool second_byte_fits(unsigned char first, unsigned char second)
{
    switch (first) {
    case 0xe0:
        return is_between(second, 0xa0, 0xbf);
    case 0xed:
        return is_between(second, 0x80, 0x9f);
    case 0xf0:
        return is_between(second, 0x90, 0xbf);
    case 0xf4:
        return is_between(second, 0x80, 0x8f);
    default:
        return is_between(second, 0x80, 0xbf);
    }
}

size_t utf8_char_size(struct bytes text)
{
    if (text.size == 0)
        return 0;
    const unsigned char *byte = (const unsigned char *)text.data;
    size_t size;
    if (byte[0] < 0x80)
        return 1;
    if (is_between(byte[0], 0xc2, 0xdf))
        size = 2;
    else if (is_between(byte[0], 0xe0, 0xef))
        size = 3;
    else if (is_between(byte[0], 0xf0, 0xf4))
        size = 4;
    else
        return 0;
    if (text.size < size || !second_byte_fits(byte[0], byte[1]))
        return 0;
    for (size_t i = 2; i < size; i++) {
        if (!is_between(byte[i], 0x80, 0xbf))
            return 0;
    }
    return size;
}

bool utf8_is_valid(struct bytes text)
{
    size_t at = 0;
    while (at < text.size) {
        size_t size = utf8_char_size(bytes_of(text.data + at, text.size - at));
        if (size == 0)
            return false;
        at += size;
    }
    return true;
}
