/* Allocation that cannot fail: without memory the process aborts and says how much it asked for.
 * What arrives from outside is bounded before it gets here, so running out is a defect or a machine
 * without memory. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>

void *memory_alloc(size_t size) __attribute__((malloc, returns_nonnull));
void *memory_zero(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *memory_resize(void *block, size_t size) __attribute__((returns_nonnull));
char *memory_string(const char *text) __attribute__((malloc, returns_nonnull));
char *memory_string_n(const char *text, size_t size) __attribute__((malloc, returns_nonnull));
/* printf into a new string; free() it. */
char *memory_printf(const char *format, ...)
    __attribute__((malloc, returns_nonnull, format(printf, 1, 2)));

/* The impossible has happened: logs file, line and text to stderr and aborts. */
_Noreturn void memory_die(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define die(...) memory_die(__FILE__, __LINE__, __VA_ARGS__)

#endif
