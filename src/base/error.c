#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Ends a text that did not fit with "...", without leaving half a UTF-8 sequence before it. */
static void mark_cut(struct error *err)
{
    size_t end = sizeof err->text - sizeof "...";
    while (end > 0 && ((unsigned char)err->text[end] & 0xc0) == 0x80)
        end--;
    memcpy(err->text + end, "...", sizeof "...");
}

static void set_text(struct error *err, const char *format, va_list args)
{
    int size = vsnprintf(err->text, sizeof err->text, format, args);
    if (size >= (int)sizeof err->text)
        mark_cut(err);
}

bool error_set(struct error *err, const char *format, ...)
{
    if (!err)
        return false;
    /* The arguments may point into the text that is replaced. */
    struct error made;
    va_list args;
    va_start(args, format);
    set_text(&made, format, args);
    va_end(args);
    memcpy(err->text, made.text, strlen(made.text) + 1);
    return false;
}

bool error_context(struct error *err, const char *format, ...)
{
    if (!err)
        return false;
    struct error context;
    va_list args;
    va_start(args, format);
    set_text(&context, format, args);
    va_end(args);
    return error_set(err, "%s: %s", context.text, err->text);
}
