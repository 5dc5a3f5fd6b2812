/* Runaways: each is a rejected message, soon, with a counter, and the state is usable after. */
#include "rules_kit.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/clock.h"

#define OUT_OF_TIME   "stopped after 50 ms of CPU time"
#define OUT_OF_MEMORY "out of memory: a state of the rules may use 16777216 bytes"

/* Sanitizers slow the host's own loops down, not the limits. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PATIENCE_US 1500000
#else
#define PATIENCE_US 500000
#endif

/* Runs `body` as a message, then a message that is well. */
static void expect_stop(const char *body, const char *expected)
{
    char *before = memory_printf("local function bad() %s end\n", body);
    struct rules_state *state =
        kit_evaluator(before, "if m.bad then return bad() end return 'well'");
    int64_t start_us = clock_thread_cpu_us();
    char *got = kit_run(state, "{\"bad\":true}");
    int64_t used_us = clock_thread_cpu_us() - start_us;
    if (!strstr(got, expected))
        fail_msg("%s\nexpected: %s\n     got: %s", body, expected, got);
    if (used_us > PATIENCE_US)
        fail_msg("%s\nstopped only after %d ms", body, (int)(used_us / 1000));
    free(got);
    got = kit_run(state, "{}");
    assert_string_equal(got, "well");
    free(got);
    rules_state_free(state);
    free(before);
}

static void stops_loops(void **context)
{
    (void)context;
    expect_stop("while true do end", OUT_OF_TIME);
    expect_stop("repeat local x = {} until false", OUT_OF_TIME);
    expect_stop("for i = 1, math.huge do end", OUT_OF_TIME);
    expect_stop("local function f() return f() end f()", OUT_OF_TIME);
    expect_stop("local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) "
                "while true do pcall(function() return t[1] end) end",
                OUT_OF_TIME);
    expect_stop("for _ in function() return 1 end do end", OUT_OF_TIME);
}

static void gives_a_call_its_limit(void **context)
{
    (void)context;
    struct rules_state *state = kit_evaluator("", "while true do end");
    for (int i = 0; i < 10; i++) {
        int64_t start_us = clock_thread_cpu_us();
        free(kit_run(state, "{}"));
        assert_in_range(clock_thread_cpu_us() - start_us, 50000, PATIENCE_US);
    }
    rules_state_free(state);
}

/* ---- threads ---- */

struct visit {
    struct rules_state *state; /* made on another thread, or NULL */
    char *results[3];
};

static void *run_thrice(void *arg)
{
    struct visit *visit = arg;
    for (int i = 0; i < 3; i++)
        visit->results[i] = kit_run(visit->state, i == 1 ? "{\"bad\":true}" : "{}");
    return NULL;
}

static struct rules_state *new_loop(void)
{
    return kit_evaluator("",
                         "if m.bad then while true do pcall(function() while true do end end) end "
                         "end return 'well'");
}

/* On a thread of its own, on which no signal comes through as it begins. */
static void expect_stop_on_a_thread(struct rules_state *state)
{
    struct visit visit = {.state = state};
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    assert_int_equal(pthread_create(&thread, NULL, run_thrice, &visit), 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_join(thread, NULL);
    assert_string_equal(visit.results[0], "well");
    assert_non_null(strstr(visit.results[1], OUT_OF_TIME));
    assert_string_equal(visit.results[2], "well");
    for (int i = 0; i < 3; i++)
        free(visit.results[i]);
}

static void stops_loops_of_a_state_that_changes_threads(void **context)
{
    (void)context;
    struct rules_state *state = new_loop();
    for (int i = 0; i < 3; i++)
        expect_stop_on_a_thread(state);
    rules_state_free(state);
}

static void stops_loops_where_the_system_gives_no_timer(void **context)
{
    (void)context;
    struct rules_state *state = new_loop();
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_SIGPENDING, &before), 0);
    const struct rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_SIGPENDING, &none), 0);
    expect_stop_on_a_thread(state);
    assert_int_equal(setrlimit(RLIMIT_SIGPENDING, &before), 0);
    rules_state_free(state);
}

/* Timers of this process, or -1 where the kernel does not list them. */
static int count_timers(void)
{
    FILE *file = fopen("/proc/self/timers", "r");
    if (!file)
        return -1;
    int n_timers = 0;
    char line[256];
    while (fgets(line, sizeof(line), file))
        n_timers += strncmp(line, "ID:", 3) == 0;
    fclose(file);
    return n_timers;
}

static void frees_the_timer_of_a_thread_that_ends(void **context)
{
    (void)context;
    struct rules_state *state = new_loop(); /* this thread has its timer */
    int n_timers = count_timers();
    if (n_timers < 0)
        skip();
    assert_int_equal(n_timers, 1);
    expect_stop_on_a_thread(state);
    assert_int_equal(count_timers(), 1);
    rules_state_free(state);
}

static void lets_nothing_catch_the_end_of_time(void **context)
{
    (void)context;
    expect_stop("while true do pcall(function() while true do end end) end", OUT_OF_TIME);
    expect_stop("pcall(function() while true do end end) return 'survived'", OUT_OF_TIME);
    expect_stop("xpcall(function() while true do end end, function() while true do end end)",
                OUT_OF_TIME);
    expect_stop("while true do xpcall(error, function() while true do end end) end", OUT_OF_TIME);
    expect_stop("local function f() pcall(f) pcall(f) end f()", OUT_OF_TIME);
    expect_stop("local function f() xpcall(f, f) xpcall(f, f) end f()", OUT_OF_TIME);
    expect_stop("local t = setmetatable({}, { __tostring = function() while true do end end }) "
                "pcall(error, t) return tostring(t)",
                OUT_OF_TIME);
    expect_stop("error(setmetatable({}, { __tostring = function() while true do end end }))",
                "streams/x.lua: error object is a table");
    expect_stop("return ('%s'):format(setmetatable({}, { __tostring = function() while true do end "
                "end }))",
                OUT_OF_TIME);
}

static void stops_what_the_host_does_for_a_script(void **context)
{
    (void)context;
    expect_stop("return ('x'):rep(200000):find('.-.-b')", OUT_OF_TIME);
    expect_stop("return ('x'):rep(200000):match('.-.-b')", OUT_OF_TIME);
    expect_stop("return ('x'):rep(200000):gsub('.-.-b', '')", OUT_OF_TIME);
    expect_stop("for _ in ('x'):rep(200000):gmatch('.-.-b') do end", OUT_OF_TIME);
    expect_stop("return ('a'):rep(30):find(('a?'):rep(30) .. ('a'):rep(30))", OUT_OF_TIME);
    expect_stop("return ('('):rep(100000):find('%b()')", OUT_OF_TIME);
    expect_stop("return ('a'):rep(100000):gsub('a*b', '')", OUT_OF_TIME);
    expect_stop("local t = {} for i = 1, 100000 do t[i] = -i end while true do table.sort(t) end",
                OUT_OF_TIME);
    expect_stop("local t = {} for i = 1, 1000 do t[i] = i end "
                "while true do table.sort(t, function() return true end) end",
                OUT_OF_TIME);
    expect_stop("local t = {1, 2, 3} table.sort(t, function() while true do end end)", OUT_OF_TIME);
    expect_stop("local t = {} for i = 1, 1000 do t[i] = ('x'):rep(2000) end "
                "while true do table.concat(t) end",
                OUT_OF_TIME);
    expect_stop("while true do ('x'):rep(1000000) end", OUT_OF_TIME);
    expect_stop("local s = ('x'):rep(1000000) while true do s:upper() end", OUT_OF_TIME);
    expect_stop("local s = ('x'):rep(1000000) while true do local t = s .. 'y' end", OUT_OF_TIME);
    expect_stop("local s = '[' .. ('0,'):rep(100000) .. '0]' while true do cs.json.decode(s) end",
                OUT_OF_TIME);
    expect_stop("local s = ('x'):rep(1000000) while true do cs.json.encode(s) end", OUT_OF_TIME);
    expect_stop("local t = {} for i = 1, 200000 do t[i] = i end "
                "while true do table.insert(t, 1, 0) table.remove(t, 1) end",
                OUT_OF_TIME);
    expect_stop("string.gsub(('x'):rep(10), 'x', function() while true do end end)", OUT_OF_TIME);
}

static void bounds_memory(void **context)
{
    (void)context;
    kit_options.map_ms = 5000; /* memory ends first, also where a sanitizer makes it slow */
    expect_stop("local s = 'x' while true do s = s .. s end", OUT_OF_MEMORY);
    expect_stop("local t = {} for i = 1, 1e7 do t[i] = ('x'):rep(1000) .. i end", OUT_OF_MEMORY);
    expect_stop("local s, t = 'x', {} "
                "for i = 1, 1e6 do pcall(function() t[#t + 1] = ('x'):rep(1e6) .. i end) end",
                OUT_OF_MEMORY);
    expect_stop("return ('x'):rep(1e9)", "rep: the result is too long");
    expect_stop("return ('x'):rep(1e6, ('y'):rep(1e6))", "rep: the result is too long");
    expect_stop("local t = {} for i = 1, 4000 do t[i] = ('x'):rep(1000) .. i end "
                "return #table.concat(t, ('y'):rep(2000))",
                OUT_OF_MEMORY);
    expect_stop("local t = {} t[1] = t return cs.json.encode(t)", "json: nested deeper than 100");
    expect_stop("local s = ('x'):rep(1e6) local t = {} for i = 1, 100 do t[i] = s end "
                "return cs.json.encode(t)",
                "json: the text is longer than 8388608 bytes");
    kit_options.map_ms = 50;
}

static void bounds_depth(void **context)
{
    (void)context;
    expect_stop("local function f() return 1 + f() end return f()", "stack overflow");
    expect_stop("local function f() local ok, e = pcall(f) if not ok then error(e, 0) end end f()",
                "calls are nested too deep");
    expect_stop("local function f(s) return (s:gsub('x', f)) end return f('x')",
                "calls are nested too deep");
    expect_stop("local function f() table.sort({1, 2}, f) end f()", "calls are nested too deep");
    expect_stop(
        "local t t = setmetatable({}, { __tostring = function() return ('%s'):format(t) end "
        "}) return tostring(t)",
        "calls are nested too deep");
    expect_stop("return ('x'):find(('('):rep(40) .. 'x' .. (')'):rep(40))", "too many captures");
    expect_stop("return ('x'):rep(300):find(('x?'):rep(300))", "pattern too complex");
    expect_stop("return cs.json.decode(('['):rep(1000)) == nil and 'refused' or 'decoded'",
                "refused");
}

static void collects_garbage_before_it_says_out_of_memory(void **context)
{
    (void)context;
    /* 3 MB at a time, 60 MB in all, in a state of 16: LuaJIT itself does not collect in time. */
    kit_options.map_ms = 1000;
    struct rules_state *state = kit_evaluator("", "return #('x'):rep(m.size)");
    for (int size = 3000001; size <= 3000020; size++) {
        char payload[32], expected[16];
        snprintf(payload, sizeof(payload), "{\"size\":%d}", size);
        snprintf(expected, sizeof(expected), "%d", size);
        char *got = kit_run(state, payload);
        assert_string_equal(got, expected);
        free(got);
    }
    rules_state_free(state);
    kit_options.map_ms = 50;
}

static void bounds_rows(void **context)
{
    (void)context;
    struct rules_options options = kit_options;
    options.memory_bytes = (size_t)2 << 20;
    const struct kit_file files[] = {
        {"init.lua", "return { streams = { require 'streams.x' } }"},
        {"streams/x.lua", "return { name = 'x', topic = 'x', tables = { t = { columns = { v = "
                          "'text' }, key = { 'v' } } },"
                          "map = function(m) local rows = {} local row = { v = ('x'):rep(m.size) } "
                          "for i = 1, m.count do rows[i] = row end return { t = rows } end }"},
        {NULL, NULL}};
    struct error err = {.text = ""};
    struct rules_state *state = kit_load_with(&options, files, &err);
    assert_non_null(state);
    struct arena arena = {0};
    struct map_result result = kit_map(state, &arena, "{\"size\":1,\"count\":10000}");
    assert_int_equal(result.n_rows, 10000);
    result = kit_map(state, &arena, "{\"size\":1,\"count\":10001}");
    kit_expect_refusal(&result, MAP_REJECT, "more than 10000 rows from one message");
    result = kit_map(state, &arena, "{\"size\":100000,\"count\":30}");
    kit_expect_refusal(&result, MAP_REJECT, "larger than 2097152 bytes together");
    arena_free(&arena);
    rules_state_free(state);
}

static void counts_what_broke(void **context)
{
    (void)context;
    struct rules_options options = kit_options;
    options.metrics = metrics_new();
    options.map_ms = 500;
    const struct kit_file files[] = {
        {"init.lua", "return { streams = { require 'streams.x' } }"},
        {"streams/x.lua", "local refused = cs.counter('refused', { why = 'test' })\n"
                          "return { name = 'x', topic = 'x', tables = { t = { columns = { v = "
                          "'text' }, key = { 'v' } } },"
                          "map = function(m) if m.loop then while true do end end\n"
                          "if m.grow then local s = 'x' while true do s = s .. s end end\n"
                          "refused:add(2) refused:add() error('x') end }"},
        {NULL, NULL}};
    struct error err = {.text = ""};
    struct rules_state *state = kit_load_with(&options, files, &err);
    if (!state)
        fail_msg("%s", err.text);
    struct arena arena = {0};
    kit_map(state, &arena, "{}");
    kit_map(state, &arena, "{\"loop\":1}");
    kit_map(state, &arena, "{\"grow\":1}");
    arena_free(&arena);
    struct buffer text = {0};
    metrics_write(options.metrics, &text);
    static const char *const lines[] = {
        "core_service_rules_errors_total{file=\"streams/x.lua\",hook=\"map\"} 3",
        "core_service_rules_limit_total{kind=\"cpu\",hook=\"map\"} 1",
        "core_service_rules_limit_total{kind=\"memory\",hook=\"map\"} 1",
        "core_service_rules_refused_total{why=\"test\"} 3",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
        if (!strstr(text.data, lines[i]))
            fail_msg("no line %s in\n%s", lines[i], text.data);
    buffer_free(&text);
    rules_state_free(state);
    metrics_free(options.metrics);
}

static void refuses_a_counter_with_other_labels_than_before(void **context)
{
    (void)context;
    kit_expect("cs.counter('labelled', { a = 'x' }) cs.counter('labelled', { a = 'y' }) "
               "return select(2, pcall(cs.counter, 'labelled', { b = 'x' }))",
               "core_service_rules_labelled_total: it had other labels before, in this file or "
               "another, or since the service runs");
    kit_expect("cs.counter('bytes', { a = '\\xff' })", "(labels are texts by name)");
    kit_expect("cs.counter('Bad')", "a name has small letters, digits and _, at most 60");
    kit_expect("cs.counter('errors')", "core_service_rules_errors_total is the host's own");
    kit_expect("cs.counter('things'):add(-1)", "a whole number, not negative, expected)");
}

static void proves_its_limits(void **context)
{
    (void)context;
    struct error err = {.text = ""};
    if (!rules_prove_limits(&kit_options, &err))
        fail_msg("%s", err.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stops_loops),
        cmocka_unit_test(gives_a_call_its_limit),
        cmocka_unit_test(stops_loops_of_a_state_that_changes_threads),
        cmocka_unit_test(stops_loops_where_the_system_gives_no_timer),
        cmocka_unit_test(frees_the_timer_of_a_thread_that_ends),
        cmocka_unit_test(lets_nothing_catch_the_end_of_time),
        cmocka_unit_test(stops_what_the_host_does_for_a_script),
        cmocka_unit_test(bounds_memory),
        cmocka_unit_test(bounds_depth),
        cmocka_unit_test(collects_garbage_before_it_says_out_of_memory),
        cmocka_unit_test(bounds_rows),
        cmocka_unit_test(counts_what_broke),
        cmocka_unit_test(refuses_a_counter_with_other_labels_than_before),
        cmocka_unit_test(proves_its_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
