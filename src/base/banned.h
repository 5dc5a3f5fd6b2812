/* Included before every C file: functions that cannot be used safely do not build. */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

#include <stdio.h>
#include <string.h>

/* Macros where clang builds with _FORTIFY_SOURCE. */
#undef sprintf
#undef vsprintf

#pragma GCC poison strcpy strcat vsprintf gets strtok

/* Not poisoned, because LuaJIT's luaconf.h names it in a macro: a call does not build either. */
#define sprintf sprintf_is_banned_use_snprintf

#endif
