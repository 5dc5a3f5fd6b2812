/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing beyond U+10FFFF. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

/* Size in bytes, 1 to 4, of the character that `text` begins with; 0 when it begins with none. */
size_t utf8_char_size(struct bytes text);
/* True when all of it is UTF-8; an absent or empty run is. */
bool utf8_is_valid(struct bytes text);

#endif
