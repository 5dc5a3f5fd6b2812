#include <charconv>

extern "C" {
#include "base/double.h"
}

void double_write(double number, char text[DOUBLE_TEXT_SIZE])
{
    char *end = text + DOUBLE_TEXT_SIZE - 1;
    *std::to_chars(text, end, number, std::chars_format::scientific).ptr = '\0';
}

bool double_read(bytes text, double *number)
{
    const char *end = text.data + text.size;
    std::from_chars_result result = std::from_chars(text.data, end, *number);
    return result.ec == std::errc() && result.ptr == end;
}
