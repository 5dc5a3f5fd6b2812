#include "rules/api.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "rules/internal.h"
#include "rules/json.h"

/* ---- cs.env ---- */

static bool list_has(const char *list, const char *name)
{
    size_t size = strlen(name);
    while (list && *list) {
        list += strspn(list, ", \t");
        size_t word = strcspn(list, ", \t");
        if (word == size && word > 0 && memcmp(list, name, size) == 0)
            return true;
        list += word;
    }
    return false;
}

static int l_env(lua_State *L)
{
    static const char built_in[] = "MARKET_DATA_TOPIC,MARKET_DATA_NUMBERING,NEWS_TOPIC,"
                                   "INSIGHTS_TOPIC,MARKET_CONSUMER_GROUP_ID,KAFKA_GROUP_ID,"
                                   "LOG_LEVEL";
    const char *name = luaL_checkstring(L, 1);
    if (!list_has(built_in, name) && !list_has(rules_state_of(L)->options.env_allow, name))
        return luaL_error(L, "cs.env: %s may not be read (allowed are %s and what RULES_ENV lists)",
                          name, built_in);
    const char *value = getenv(name);
    lua_settop(L, 2);
    if (value && *value)
        lua_pushstring(L, value);
    return 1;
}

/* ---- cs.time ---- */

static int64_t check_ms(lua_State *L, int argument)
{
    double ms = luaL_checknumber(L, argument);
    if (!calendar_has(ms))
        luaL_argerror(L, argument, "whole milliseconds since 1970 expected");
    return (int64_t)ms;
}

static int l_now_ms(lua_State *L)
{
    lua_pushnumber(L, (double)clock_realtime_ms());
    return 1;
}

static int l_iso(lua_State *L)
{
    char text[CALENDAR_ISO_SIZE];
    calendar_format_iso(check_ms(L, 1), text);
    lua_pushstring(L, text);
    return 1;
}

static int l_parse(lua_State *L)
{
    int64_t ms;
    if (lua_type(L, 1) == LUA_TSTRING && strlen(lua_tostring(L, 1)) == lua_objlen(L, 1) &&
        calendar_parse_iso(lua_tostring(L, 1), &ms))
        lua_pushnumber(L, (double)ms);
    else
        lua_pushnil(L);
    return 1;
}

static int l_add_months(lua_State *L)
{
    int64_t ms = check_ms(L, 1);
    double months = luaL_checknumber(L, 2);
    if (months != floor(months) || fabs(months) > 12 * 9999)
        return luaL_argerror(L, 2, "a whole number of months expected");
    double later_ms = (double)calendar_add_months(ms, (int64_t)months);
    if (!calendar_has(later_ms))
        return luaL_argerror(L, 2, "the result is outside the calendar");
    lua_pushnumber(L, later_ms);
    return 1;
}

static void push_functions(lua_State *L, const luaL_Reg *functions)
{
    lua_newtable(L);
    for (; functions->name; functions++) {
        lua_pushcfunction(L, functions->func);
        lua_setfield(L, -2, functions->name);
    }
}

void rules_api_push(lua_State *L)
{
    static const luaL_Reg basics[] = {{"env", l_env}, {"counter", l_counter}, {NULL, NULL}};
    static const luaL_Reg times[] = {{"now_ms", l_now_ms},
                                     {"iso", l_iso},
                                     {"parse", l_parse},
                                     {"add_months", l_add_months},
                                     {NULL, NULL}};
    rules_counter_open(L);
    push_functions(L, basics);
    push_functions(L, times);
    lua_setfield(L, -2, "time");
    rules_log_push(L);
    lua_setfield(L, -2, "log");
    rules_json_push_api(L);
    lua_setfield(L, -2, "json");
    rules_push_null(L);
    lua_setfield(L, -2, "null");
}
