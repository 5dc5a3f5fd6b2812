/* What a script can reach, and what it tries. */
#include "rules_kit.h"

struct attempt {
    const char *body;
    const char *expected;
};

#define EXPECT_ALL(attempts)                                                                       \
    for (size_t i_ = 0; i_ < sizeof(attempts) / sizeof(*(attempts)); i_++)                         \
    kit_expect((attempts)[i_].body, (attempts)[i_].expected)

static void does_not_offer_what_leads_outside(void **context)
{
    (void)context;
    static const char *const absent[] = {
        "io",          "debug",        "package",       "coroutine",  "jit",       "ffi",
        "load",        "loadstring",   "loadfile",      "dofile",     "getfenv",   "setfenv",
        "newproxy",    "module",       "print",         "gcinfo",     "arg",       "collectgarbage",
        "string.dump", "os.getenv",    "os.execute",    "os.exit",    "os.remove", "os.rename",
        "os.tmpname",  "os.setlocale", "table.foreach", "table.maxn", "_G._G.io",  "_G.debug"};
    for (size_t i = 0; i < sizeof(absent) / sizeof(*absent); i++) {
        char *body = memory_printf("return %s", absent[i]);
        kit_expect(body, "nil");
        free(body);
    }
}

static void offers_the_safe_rest(void **context)
{
    (void)context;
    static const struct attempt attempts[] = {
        {"return ('%s-%d'):format('a', 1) .. string.rep('x', 3, ',')", "a-1x,x,x"},
        {"return math.floor(2.5) + bit.band(7, 2)", "4"},
        {"return os.date('!%Y-%m-%d', 0)", "1970-01-01"},
        {"return type(os.time()) .. type(os.clock())", "numbernumber"},
        {"local t = {3, 1, 2} table.sort(t) return table.concat(t, ',')", "1,2,3"},
        {"local t = {'a', 'b', 'c', 'aa'} table.sort(t, function(a, b) return a > b end) "
         "return table.concat(t, ',')",
         "c,b,aa,a"},
        {"local t = {} for i = 1, 500 do t[i] = (i * 7919) % 501 end table.sort(t) "
         "for i = 2, 500 do assert(t[i - 1] <= t[i]) end return #t",
         "500"},
        {"local t = {1} table.insert(t, 2) table.insert(t, 1, 0) return table.concat(t, ',') .. "
         "table.remove(t) .. table.remove(t, 1) .. #t",
         "0,1,2201"},
        {"return select('#', unpack({1, 2, 3}))", "3"},
        {"return tostring(pcall(error, 'x')) .. tostring(select(2, pcall(error, 'x')))", "falsex"},
        {"return select(2, xpcall(error, function(e) return e .. '!' end, 'x'))", "x!"},
        {"return select(2, xpcall(function(a) return a end, error, 5))", "5"},
        {"return tostring(xpcall(error, error, 'x'))", "false"},
        {"local n = 0 for k, v in pairs({1, 2, a = 3}) do n = n + v end return n", "6"},
        {"return next({}, nil)", "nil"},
        {"return rawget(setmetatable({}, {__index = {x = 1}}), 'x')", "nil"},
        {"return rawequal('a', 'a')", "true"},
    };
    EXPECT_ALL(attempts);
}

static void keeps_globals_and_libraries_read_only(void **context)
{
    (void)context;
    static const struct attempt attempts[] = {
        {"string.format = nil", "the table is read-only: field 'format'"},
        {"table.new = 1", "the table is read-only: field 'new'"},
        {"math.pi = 3", "the table is read-only: field 'pi'"},
        {"cs.null = 1", "the table is read-only: field 'null'"},
        {"cs.json.encode = 1", "the table is read-only: field 'encode'"},
        {"_G.x = 1", "the table is read-only: field 'x'"},
        {"_G[1] = 1", "the table is read-only"},
        {"rawset(_G, 'x', 1)", "the table is read-only"},
        {"rawset(string, 'x', 1)", "the table is read-only"},
        {"table.insert(math, 1)", "the table is read-only"},
        {"table.sort(_G)", "the table is read-only"},
        {"setmetatable(string, {})", "cannot change a protected metatable"},
        {"setmetatable(_G, nil)", "cannot change a protected metatable"},
        {"local k, v = next(string) return type(k) .. type(v)", "stringfunction"},
        {"for k, v in pairs(_G) do if k == 'string' then v.x = 1 end end",
         "the table is read-only: field 'x'"},
        {"local names = {} for k in pairs(os) do names[#names + 1] = k end table.sort(names) "
         "return table.concat(names, ' ')",
         "clock date difftime time"},
        {"local _, t = pairs(string) t.x = 1", "the table is read-only: field 'x'"},
        {"some_global = 1", "global 'some_global' is assigned: write `local some_global`"},
        {"string = nil", "global 'string' is assigned: write `local string`"},
    };
    EXPECT_ALL(attempts);
}

static void protects_metatables(void **context)
{
    (void)context;
    static const struct attempt attempts[] = {
        {"return getmetatable('')", "false"},
        {"getmetatable('').__index = {}", "attempt to index a boolean value"},
        {"return getmetatable(_G)", "false"},
        {"return getmetatable(cs.null)", "false"},
        {"return getmetatable(cs.json.number('1.10'))", "false"},
        {"return getmetatable(cs.json.array {})", "false"},
        {"return getmetatable(cs.counter('things'))", "false"},
        {"cs.counter('things').add = 1", "attempt to index a userdata value"},
        {"local c = cs.counter('things') c.add(cs.json.number('1.10'), 1)",
         "(rules.counter expected, got userdata)"},
        {"return #setmetatable({}, {__gc = function() error('gc') end})", "0"},
    };
    EXPECT_ALL(attempts);
}

static void refuses_bytecode_and_files_that_are_not_there(void **context)
{
    (void)context;
    static const char init[] = "return { streams = { require 'streams.x' } }";
    static const struct {
        const char *text;
        const char *part;
    } cases[] = {
        {"\033LJ\002\n", "streams/x.lua: attempt to load chunk with wrong mode"},
        {"return require 'lib.other'", "there is no file lib/other.lua"},
        {"return require '../etc/passwd'", "not the name of a module"},
        {"return require '/etc/passwd'", "not the name of a module"},
        {"return require 'lib..x'", "not the name of a module"},
        {"return require 'io'", "there is no file io.lua"},
        {"return require 'init'", "files require each other"},
        {"local x = require 'streams.x'", "files require each other"},
        {"pcall(require, 'lib.bad') require 'lib.bad'", "lib/bad.lua:1: bad"},
        {"x = 1", "streams/x.lua:1: global 'x' is assigned"},
        {"local function f(", "streams/x.lua:1: "},
        {"string.x = 1", "streams/x.lua:1: the table is read-only"},
        {"error('at load')", "streams/x.lua:1: at load"},
        {"error()", "streams/x.lua: error object is a nil"},
        {"error('plain', 0)", "streams/x.lua: plain"},
        {"local function f() return 1 + f() end f()", "streams/x.lua: stack overflow"},
        {"local t = {} while true do t[#t + 1] = ('x'):rep(999) .. #t end",
         "streams/x.lua: out of memory"},
        {"pcall(require, 'lib.bad') error()", "streams/x.lua: error object is a nil"},
        {"return require('lib.raises')", "lib/raises.lua: error object is a table"},
        {"error(setmetatable({}, { __tostring = function() while true do end end }))",
         "streams/x.lua: error object is a table"},
        {"while true do end", "streams/x.lua:1: stopped after 2000 ms of CPU time"},
        {"cs.env('HOME')", "cs.env: HOME may not be read"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct kit_file files[] = {{"init.lua", init},
                                         {"streams/x.lua", cases[i].text},
                                         {"lib/bad.lua", "error('bad')"},
                                         {"lib/raises.lua", "error({})"},
                                         {NULL, NULL}};
        kit_expect_trouble(files, cases[i].part);
    }
    const struct kit_file none[] = {{NULL, NULL}};
    kit_expect_trouble(none, "there is no file init.lua");
}

static void does_not_load_files_later(void **context)
{
    (void)context;
    kit_expect("return require('lib.later')",
               "require 'lib.later': modules are loaded when the file is loaded, not later");
    kit_expect("return require('streams.x').name", "x");
}

static const char stream_with_lib[] =
    "local lib = require 'lib.shared'\n"
    "return { name = 'x', topic = 'x', tables = { t = { columns = { v = 'text' }, key = { 'v' } } "
    "},\n"
    "map = function() return { t = { v = tostring(lib.run(lib)) } } end }";

static void expect_of_module(const char *body, const char *expected)
{
    char *text = memory_printf("local M = { list = { 1, 2, 3 }, map = { a = { b = 1 } } }\n"
                               "function M.run(lib) %s end return M",
                               body);
    const struct kit_file files[] = {{"init.lua", "return { streams = { require 'streams.x' } }"},
                                     {"streams/x.lua", stream_with_lib},
                                     {"lib/shared.lua", text},
                                     {NULL, NULL}};
    struct rules_state *state = kit_load(files);
    kit_expect_text(state, body, expected);
    rules_state_free(state);
    free(text);
}

static void freezes_what_modules_return(void **context)
{
    (void)context;
    expect_of_module("lib.x = 1", "the table is read-only: field 'x'");
    expect_of_module("M.x = 1", "the table is read-only: field 'x'");
    expect_of_module("lib.run = 1", "the table is read-only: field 'run'");
    expect_of_module("lib.map.a.b = 2", "the table is read-only: field 'b'");
    expect_of_module("lib.list[4] = 4", "the table is read-only");
    expect_of_module("table.insert(lib.list, 4)", "the table is read-only");
    expect_of_module("table.remove(lib.list)", "the table is read-only");
    expect_of_module("table.sort(lib.list)", "the table is read-only");
    expect_of_module("rawset(lib.map, 'c', 1)", "the table is read-only");
    expect_of_module("return #lib.list + lib.map.a.b", "4");
    expect_of_module("local n = 0 for _, v in ipairs(lib.list) do n = n + v end return n", "6");
    expect_of_module("local t = {} for k in pairs(lib) do t[#t + 1] = k end table.sort(t) "
                     "return table.concat(t, ' ')",
                     "list map run");
    expect_of_module("return next(lib.map)", "a");
    expect_of_module("return cs.json.encode({ lib.map, lib.list })", "[{\"a\":{\"b\":1}},[1,2,3]]");
}

static void lets_a_module_be_a_class(void **context)
{
    (void)context;
    expect_of_module("M.__index = M function M.get(self) return self.x end "
                     "return setmetatable({ x = 5 }, M):get()",
                     "the table is read-only: field '__index'");
    const struct kit_file files[] = {
        {"init.lua", "return { streams = { require 'streams.x' } }"},
        {"streams/x.lua", stream_with_lib},
        {"lib/shared.lua", "local M = {} M.__index = M function M.get(self) return self.x end\n"
                           "function M.run() return setmetatable({ x = 5 }, M):get() end return M"},
        {NULL, NULL}};
    struct rules_state *state = kit_load(files);
    kit_expect_text(state, "setmetatable({ x = 5 }, M):get()", "5");
    rules_state_free(state);
}

/* Each adds one to a library's list and a local of it, and says what they are then. */
#define COUNTING(name)                                                                             \
    "local lib = require 'lib.counting' return { name = '" name "', topic = 'x', tables = { t = "  \
    "{ columns = { v = 'text' }, key = { 'v' } } }, map = function() lib.list[1] = lib.list[1] "   \
    "+ 1 return { t = { v = lib.list[1] .. ' ' .. lib.count() } } end }"

static void gives_each_stream_its_own_libraries(void **context)
{
    (void)context;
    const struct kit_file files[] = {
        {"init.lua", "return { streams = { require 'streams.a', require 'streams.b' } }"},
        {"streams/a.lua", COUNTING("a")},
        {"streams/b.lua", COUNTING("b")},
        {"lib/counting.lua", "local n = 0 return { list = { 0 }, count = function() n = n + 1 "
                             "return n end }"},
        {NULL, NULL}};
    struct rules_state *state = kit_load(files);
    const struct message message = {.topic = "x", .payload = bytes_of_string("{}")};
    for (size_t stream = 0; stream < 2; stream++) {
        struct arena arena = {0};
        struct map_result result;
        rules_map(state, stream, &message, &arena, &result);
        assert_int_equal(result.verdict, MAP_ROWS);
        kit_expect_bytes(kit_value(&result.rows[0], "v")->text, "1 1");
        arena_free(&arena);
    }
    rules_state_free(state);
}

static void keeps_the_globals_of_files_apart(void **context)
{
    (void)context;
    const struct kit_file files[] = {
        {"init.lua", "return { streams = { require 'streams.a', require 'streams.x' } }"},
        {"streams/a.lua", "local secret = 1 return { name = 'a', topic = 'x', tables = { t = { "
                          "columns = { v = 'text' }"
                          ", key = { 'v' } } }, map = function() return nil, 'skip', secret end }"},
        {"streams/x.lua",
         "assert(secret == nil) return { name = 'x', topic = 'x', tables = { t = { "
         "columns = { v = 'text' }, key = { 'v' } } }, map = function() end }"},
        {NULL, NULL}};
    struct rules_state *state = kit_load(files);
    assert_int_equal(rules_state_def(state)->n_streams, 2);
    rules_state_free(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(does_not_offer_what_leads_outside),
        cmocka_unit_test(offers_the_safe_rest),
        cmocka_unit_test(keeps_globals_and_libraries_read_only),
        cmocka_unit_test(protects_metatables),
        cmocka_unit_test(refuses_bytecode_and_files_that_are_not_there),
        cmocka_unit_test(does_not_load_files_later),
        cmocka_unit_test(freezes_what_modules_return),
        cmocka_unit_test(lets_a_module_be_a_class),
        cmocka_unit_test(gives_each_stream_its_own_libraries),
        cmocka_unit_test(keeps_the_globals_of_files_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
