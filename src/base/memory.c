#include "base/memory.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *memory_alloc(size_t size)
{
    void *block = malloc(size ? size : 1);
    if (!block)
        die("out of memory: %zu bytes", size);
    return block;
}

void *memory_zero(size_t count, size_t size)
{
    void *block = count && size ? calloc(count, size) : calloc(1, 1);
    if (!block)
        die("out of memory: %zu times %zu bytes", count, size);
    return block;
}

void *memory_resize(void *block, size_t size)
{
    void *resized = realloc(block, size ? size : 1);
    if (!resized)
        die("out of memory: %zu bytes", size);
    return resized;
}

char *memory_string(const char *text)
{
    return memory_string_n(text, strlen(text));
}

char *memory_string_n(const char *text, size_t size)
{
    if (size == SIZE_MAX)
        die("a string of %zu bytes", size);
    char *copy = memory_alloc(size + 1);
    if (size)
        memcpy(copy, text, size);
    copy[size] = '\0';
    return copy;
}

char *memory_printf(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int size = vasprintf(&text, format, args);
    va_end(args);
    if (size < 0)
        die("out of memory: formatting \"%s\"", format);
    return text;
}

/* Straight to stderr: the log stands on this file, and there may be no memory left. */
_Noreturn void memory_die(const char *file, int line, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "fatal: %s:%d: %s\n", file, line, text);
    abort();
}
