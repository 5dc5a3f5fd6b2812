#include "rules/pattern.h"

#include <ctype.h>
#include <lauxlib.h>

#include "rules/limits.h"

#define DEPTH_MAX 200

void pattern_init(struct pattern *pattern, lua_State *L, struct bytes text, struct bytes subject)
{
    pattern->L = L;
    pattern->anchored = text.size > 0 && text.data[0] == '^';
    pattern->text = text.data + pattern->anchored;
    pattern->text_end = text.data + text.size;
    pattern->subject = subject.data;
    pattern->subject_end = subject.data + subject.size;
    pattern->depth = 0;
    pattern->n_captures = 0;
}

/* ---- one character ---- */

static bool class_has(unsigned char class, unsigned char c)
{
    bool has;
    switch (tolower(class)) {
    case 'a':
        has = isalpha(c);
        break;
    case 'c':
        has = iscntrl(c);
        break;
    case 'd':
        has = isdigit(c);
        break;
    case 'g':
        has = isgraph(c);
        break;
    case 'l':
        has = islower(c);
        break;
    case 'p':
        has = ispunct(c);
        break;
    case 's':
        has = isspace(c);
        break;
    case 'u':
        has = isupper(c);
        break;
    case 'w':
        has = isalnum(c);
        break;
    case 'x':
        has = isxdigit(c);
        break;
    case 'z':
        has = c == 0;
        break;
    default:
        return class == c;
    }
    return isupper(class) ? !has : has;
}

/* Behind the ']' of the set that opens at `at`. The first character of a set is never its end. */
static const char *set_end(struct pattern *pattern, const char *at)
{
    at++;
    if (at < pattern->text_end && *at == '^')
        at++;
    for (bool first = true;; first = false) {
        if (at >= pattern->text_end)
            luaL_error(pattern->L, "malformed pattern (missing ']')");
        if (*at == ']' && !first)
            return at + 1;
        if (*at == '%' && ++at >= pattern->text_end)
            luaL_error(pattern->L, "malformed pattern (ends with '%%')");
        at++;
    }
}

/* Behind the single character, class or set at `at`. */
static const char *item_end(struct pattern *pattern, const char *at)
{
    if (*at == '[')
        return set_end(pattern, at);
    if (*at != '%')
        return at + 1;
    if (at + 1 >= pattern->text_end)
        luaL_error(pattern->L, "malformed pattern (ends with '%%')");
    return at + 2;
}

/* `at` is the '[', `end` is behind the ']'. */
static bool set_has(const char *at, const char *end, unsigned char c)
{
    end--;
    at++;
    bool inverted = *at == '^';
    if (inverted)
        at++;
    for (; at < end; at++) {
        if (*at == '%') {
            at++;
            if (class_has((unsigned char)*at, c))
                return !inverted;
        } else if (at + 2 < end && at[1] == '-') {
            if ((unsigned char)at[0] <= c && c <= (unsigned char)at[2])
                return !inverted;
            at += 2;
        } else if ((unsigned char)*at == c) {
            return !inverted;
        }
    }
    return inverted;
}

static bool item_has(const char *at, const char *end, unsigned char c)
{
    switch (*at) {
    case '.':
        return true;
    case '%':
        return class_has((unsigned char)at[1], c);
    case '[':
        return set_has(at, end, c);
    default:
        return (unsigned char)*at == c;
    }
}

static bool item_fits(struct pattern *pattern, const char *at, const char *end, const char *s)
{
    return s < pattern->subject_end && item_has(at, end, (unsigned char)*s);
}

/* ---- sequences of items ---- */

static const char *match_rest(struct pattern *pattern, const char *s, const char *at);

/* `item*`, `item+` and `item?` : as many as fit, then fewer. */
static const char *match_greedy(struct pattern *pattern, const char *s, const char *at,
                                const char *end, size_t least, size_t most)
{
    size_t count = 0;
    while (count < most && item_fits(pattern, at, end, s + count))
        count++;
    rules_limits_spend(pattern->L, 1 + count / 4);
    for (;; count--) {
        if (count < least)
            return NULL;
        const char *stop = match_rest(pattern, s + count, end + 1);
        if (stop || count == 0)
            return stop;
    }
}

/* `item-`: as few as possible, then more. */
static const char *match_lazy(struct pattern *pattern, const char *s, const char *at,
                              const char *end)
{
    for (;; s++) {
        const char *stop = match_rest(pattern, s, end + 1);
        if (stop)
            return stop;
        if (!item_fits(pattern, at, end, s))
            return NULL;
    }
}

static const char *open_capture(struct pattern *pattern, const char *s, const char *at)
{
    if (pattern->n_captures >= PATTERN_CAPTURES_MAX)
        luaL_error(pattern->L, "too many captures");
    struct pattern_capture *capture = &pattern->captures[pattern->n_captures++];
    bool is_position = at + 1 < pattern->text_end && at[1] == ')';
    *capture = (struct pattern_capture){s, is_position ? s : NULL, is_position};
    const char *stop = match_rest(pattern, s, at + (is_position ? 2 : 1));
    if (!stop)
        pattern->n_captures--;
    return stop;
}

static const char *close_capture(struct pattern *pattern, const char *s, const char *at)
{
    int index = pattern->n_captures - 1;
    while (index >= 0 && pattern->captures[index].end)
        index--;
    if (index < 0)
        luaL_error(pattern->L, "invalid pattern capture");
    pattern->captures[index].end = s;
    const char *stop = match_rest(pattern, s, at + 1);
    if (!stop)
        pattern->captures[index].end = NULL;
    return stop;
}

/* %bxy: up to the y that balances the x at `s`. */
static const char *match_balance(struct pattern *pattern, const char *s, const char *at)
{
    if (at + 3 >= pattern->text_end)
        luaL_error(pattern->L, "unbalanced pattern");
    if (s >= pattern->subject_end || *s != at[2])
        return NULL;
    size_t open = 1;
    for (const char *look = s + 1; look < pattern->subject_end; look++) {
        if (*look == at[3]) {
            if (--open == 0) {
                rules_limits_spend(pattern->L, 1 + (size_t)(look - s) / 8);
                return look + 1;
            }
        } else if (*look == at[2]) {
            open++;
        }
    }
    rules_limits_spend(pattern->L, 1 + (size_t)(pattern->subject_end - s) / 8);
    return NULL;
}

/* %f[set]: between a character that is not in the set and one that is. */
static bool is_frontier(struct pattern *pattern, const char *s, const char *set, const char *end)
{
    unsigned char before = s == pattern->subject ? 0 : (unsigned char)s[-1];
    unsigned char here = s == pattern->subject_end ? 0 : (unsigned char)*s;
    return !set_has(set, end, before) && set_has(set, end, here);
}

/* %1 to %9: what a capture holds, once more. A position holds nothing that could be matched. */
static const char *match_back_reference(struct pattern *pattern, const char *s, char digit)
{
    int index = digit - '1';
    if (index < 0 || index >= pattern->n_captures || !pattern->captures[index].end)
        luaL_error(pattern->L, "invalid capture index");
    const struct pattern_capture *capture = &pattern->captures[index];
    if (capture->is_position)
        return NULL;
    size_t size = (size_t)(capture->end - capture->start);
    rules_limits_spend(pattern->L, 1 + size / 64);
    if ((size_t)(pattern->subject_end - s) < size || memcmp(s, capture->start, size) != 0)
        return NULL;
    return s + size;
}

/* The escapes that are more than a class. True when `at` was one; *s is then behind it (NULL: no
 * match) and *at too. */
static bool match_escape(struct pattern *pattern, const char **s, const char **at)
{
    const char *p = *at;
    if (*p != '%' || p + 1 >= pattern->text_end)
        return false;
    if (p[1] == 'b') {
        *s = match_balance(pattern, *s, p);
        *at = p + 4;
    } else if (p[1] == 'f') {
        if (p + 2 >= pattern->text_end || p[2] != '[')
            luaL_error(pattern->L, "missing '[' after '%%f' in pattern");
        *at = set_end(pattern, p + 2);
        if (!is_frontier(pattern, *s, p + 2, *at))
            *s = NULL;
    } else if (isdigit((unsigned char)p[1])) {
        *s = match_back_reference(pattern, *s, p[1]);
        *at = p + 2;
    } else {
        return false;
    }
    return true;
}

static const char *match_items(struct pattern *pattern, const char *s, const char *at)
{
    while (s && at < pattern->text_end) {
        rules_limits_spend(pattern->L, 1);
        if (*at == '(')
            return open_capture(pattern, s, at);
        if (*at == ')')
            return close_capture(pattern, s, at);
        if (*at == '$' && at + 1 == pattern->text_end)
            return s == pattern->subject_end ? s : NULL;
        if (match_escape(pattern, &s, &at))
            continue;
        const char *end = item_end(pattern, at);
        switch (end < pattern->text_end ? *end : '\0') {
        case '*':
            return match_greedy(pattern, s, at, end, 0, SIZE_MAX);
        case '+':
            return match_greedy(pattern, s, at, end, 1, SIZE_MAX);
        case '?':
            return match_greedy(pattern, s, at, end, 0, 1);
        case '-':
            return match_lazy(pattern, s, at, end);
        default:
            s = item_fits(pattern, at, end, s) ? s + 1 : NULL;
            at = end;
        }
    }
    return s;
}

static const char *match_rest(struct pattern *pattern, const char *s, const char *at)
{
    if (++pattern->depth > DEPTH_MAX)
        luaL_error(pattern->L, "pattern too complex");
    const char *stop = match_items(pattern, s, at);
    pattern->depth--;
    return stop;
}

const char *pattern_match(struct pattern *pattern, const char *start)
{
    pattern->depth = 0;
    pattern->n_captures = 0;
    return match_rest(pattern, start, pattern->text);
}

/* ---- captures ---- */

void pattern_push_capture(struct pattern *pattern, int index, const char *start, const char *end)
{
    lua_State *L = pattern->L;
    if (index >= pattern->n_captures) {
        if (index != 0)
            luaL_error(L, "invalid capture index");
        lua_pushlstring(L, start, (size_t)(end - start));
        return;
    }
    const struct pattern_capture *capture = &pattern->captures[index];
    if (!capture->end)
        luaL_error(L, "unfinished capture");
    if (capture->is_position)
        lua_pushinteger(L, capture->start - pattern->subject + 1);
    else
        lua_pushlstring(L, capture->start, (size_t)(capture->end - capture->start));
}

int pattern_push_captures(struct pattern *pattern, const char *start, const char *end, bool whole)
{
    int count = pattern->n_captures == 0 && whole ? 1 : pattern->n_captures;
    luaL_checkstack(pattern->L, count, "too many captures");
    for (int i = 0; i < count; i++)
        pattern_push_capture(pattern, i, start, end);
    return count;
}
