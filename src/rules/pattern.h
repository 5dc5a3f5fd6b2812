/* Lua's patterns (manual 5.1, section 5.4.1), matched with a count of steps, so that one that
 * tries for ever is stopped like any other loop. Private to rules/. */
#ifndef RULES_PATTERN_H
#define RULES_PATTERN_H

#include <lua.h>
#include <stdbool.h>

#include "base/bytes.h"

#define PATTERN_CAPTURES_MAX 32

struct pattern_capture {
    const char *start;
    const char *end; /* NULL: still open */
    bool is_position;
};

struct pattern {
    lua_State *L;
    const char *text; /* without a leading '^' */
    const char *text_end;
    bool anchored;
    const char *subject;
    const char *subject_end;
    int depth;
    int n_captures;
    struct pattern_capture captures[PATTERN_CAPTURES_MAX];
};

void pattern_init(struct pattern *pattern, lua_State *L, struct bytes text, struct bytes subject);
/* Matches at `start` exactly. The end of the match, or NULL. Raises for a malformed pattern. */
const char *pattern_match(struct pattern *pattern, const char *start);
/* Pushes the captures of a match, or the whole of it when there are none and `whole` is set.
 * Returns how many. */
int pattern_push_captures(struct pattern *pattern, const char *start, const char *end, bool whole);
/* Pushes capture number `index`, from 0; number 0 is the whole match when there are no captures. */
void pattern_push_capture(struct pattern *pattern, int index, const char *start, const char *end);

#endif
