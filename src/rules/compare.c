#include "rules/compare.h"

#include "model/value.h"

#define SHOWN_MAX 400
#define BEFORE    60

struct place {
    const char *at;
    const char *end;
};

static bool is_number_char(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/* The number that begins here; empty when none does. */
static struct bytes take_number(struct place *place)
{
    const char *start = place->at;
    while (place->at < place->end && is_number_char(*place->at) &&
           (place->at > start || *start == '-' || (*start >= '0' && *start <= '9')))
        place->at++;
    return bytes_of(start, (size_t)(place->at - start));
}

static bool same_number(struct bytes left, struct bytes right)
{
    struct value a = {.type = VALUE_NUMERIC, .text = left};
    struct value b = {.type = VALUE_NUMERIC, .text = right};
    return value_is_numeric(left) && value_is_numeric(right) && value_compare(&a, &b) == 0;
}

/* Walks both until they differ. In a string, digits are text like all else. */
static bool walk(struct place *expected, struct place *got)
{
    bool in_string = false;
    while (expected->at < expected->end && got->at < got->end) {
        if (!in_string && is_number_char(*expected->at) && is_number_char(*got->at)) {
            struct place before = *expected, before_got = *got;
            struct bytes left = take_number(expected), right = take_number(got);
            if (left.size > 0 && right.size > 0) {
                if (same_number(left, right))
                    continue;
                *expected = before;
                *got = before_got;
                return false;
            }
        }
        if (*expected->at != *got->at)
            return false;
        if (in_string && *expected->at == '\\') {
            expected->at++;
            got->at++;
            if (expected->at == expected->end || got->at == got->end || *expected->at != *got->at)
                return false;
        } else if (*expected->at == '"') {
            in_string = !in_string;
        }
        expected->at++;
        got->at++;
    }
    return expected->at == expected->end && got->at == got->end;
}

static int show(struct bytes text, const char *at, const char **start)
{
    *start = text.data;
    size_t offset = (size_t)(at - text.data);
    if (text.size > SHOWN_MAX && offset > BEFORE)
        *start = at - BEFORE;
    size_t left = text.size - (size_t)(*start - text.data);
    return (int)(left < SHOWN_MAX ? left : SHOWN_MAX);
}

bool rules_compare_json(struct bytes expected, struct bytes got, struct error *err)
{
    struct place left = {expected.data, expected.data + expected.size};
    struct place right = {got.data, got.data + got.size};
    if (walk(&left, &right))
        return true;
    const char *left_start, *right_start;
    int left_size = show(expected, left.at, &left_start);
    int right_size = show(got, right.at, &right_start);
    return error_set(err, "expected %s%.*s, got %s%.*s", left_start > expected.data ? "..." : "",
                     left_size, left_start, right_start > got.data ? "..." : "", right_size,
                     right_start);
}
