/* cs.counter: metrics that rules name. */
#include <ctype.h>
#include <lauxlib.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "metrics/metrics.h"
#include "rules/api.h"
#include "rules/internal.h"
#include "rules/sandbox.h"

#define COUNTER       "rules.counter" /* metatable, in the registry */
#define LABELS_MAX    8
#define FAMILIES_MAX  100
#define NAME_MAX_SIZE 60

/* Metric families live as long as the process and have one set of labels, while rules come and go
 * and may say something else the next time: what was said first is kept here and holds. The
 * strings are the literals that metrics.h asks for. */
struct family {
    char *name; /* as in the exposition */
    size_t n_labels;
    char *labels[LABELS_MAX]; /* sorted */
};

static pthread_mutex_t families_lock = PTHREAD_MUTEX_INITIALIZER;
static struct family families[FAMILIES_MAX];
static size_t n_families;

static bool is_name(const char *text, size_t size)
{
    if (size == 0 || size > NAME_MAX_SIZE || isdigit((unsigned char)text[0]))
        return false;
    for (size_t i = 0; i < size; i++)
        if (!(islower((unsigned char)text[i]) || isdigit((unsigned char)text[i]) || text[i] == '_'))
            return false;
    return true;
}

static int compare_labels(const void *left, const void *right)
{
    return strcmp(((const struct label *)left)->name, ((const struct label *)right)->name);
}

static bool has_labels(const struct family *family, const struct label *labels, size_t n_labels)
{
    bool same = family->n_labels == n_labels;
    for (size_t i = 0; same && i < n_labels; i++)
        same = strcmp(family->labels[i], labels[i].name) == 0;
    return same;
}

static struct family *add_family(const char *name, const struct label *labels, size_t n_labels)
{
    struct family *family = &families[n_families++];
    family->name = memory_string(name);
    family->n_labels = n_labels;
    for (size_t i = 0; i < n_labels; i++)
        family->labels[i] = memory_string(labels[i].name);
    return family;
}

/* The family of that name, made when it is new; NULL with *problem when it cannot be had. Labels
 * are sorted by name; theirs become the family's own. */
static const struct family *find_family(const char *name, struct label *labels, size_t n_labels,
                                        const char **problem)
{
    struct family *family = NULL;
    pthread_mutex_lock(&families_lock);
    for (size_t i = 0; !family && i < n_families; i++)
        if (strcmp(families[i].name, name) == 0)
            family = &families[i];
    if (family && !has_labels(family, labels, n_labels)) {
        *problem = "it had other labels before, in this file or another, or since the service runs";
        family = NULL;
    } else if (!family && n_families == FAMILIES_MAX) {
        *problem = "there are 100 counters already";
    } else if (!family) {
        family = add_family(name, labels, n_labels);
    }
    pthread_mutex_unlock(&families_lock);
    for (size_t i = 0; family && i < n_labels; i++)
        labels[i].name = family->labels[i];
    return family;
}

static bool is_text(lua_State *L, int index)
{
    size_t size;
    if (lua_type(L, index) != LUA_TSTRING)
        return false;
    const char *text = lua_tolstring(L, index, &size);
    return !memchr(text, '\0', size) && utf8_is_valid(bytes_of(text, size));
}

/* The table at `index` into labels. The strings are the table's: it stays on the stack. */
static size_t read_labels(lua_State *L, int index, struct label labels[LABELS_MAX])
{
    size_t n_labels = 0;
    if (lua_isnoneornil(L, index))
        return 0;
    luaL_checktype(L, index, LUA_TTABLE);
    rules_unfreeze(L, index);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        if (lua_type(L, -2) != LUA_TSTRING || !is_text(L, -1))
            luaL_argerror(L, index, "labels are texts by name");
        if (!is_name(lua_tostring(L, -2), lua_objlen(L, -2)))
            luaL_error(L, "cs.counter: %s is no name of a label", lua_tostring(L, -2));
        if (n_labels == LABELS_MAX)
            luaL_argerror(L, index, "at most 8 labels");
        labels[n_labels++] = (struct label){lua_tostring(L, -2), lua_tostring(L, -1)};
        lua_pop(L, 1);
    }
    qsort(labels, n_labels, sizeof(*labels), compare_labels);
    return n_labels;
}

/* cs.counter(name, labels) */
int l_counter(lua_State *L)
{
    size_t size;
    const char *short_name = luaL_checklstring(L, 1, &size);
    if (!is_name(short_name, size))
        return luaL_error(L, "cs.counter: a name has small letters, digits and _, at most %d",
                          NAME_MAX_SIZE);
    lua_settop(L, 2);
    struct label labels[LABELS_MAX];
    size_t n_labels = read_labels(L, 2, labels);
    char name[NAME_MAX_SIZE + 32];
    snprintf(name, sizeof(name), "core_service_rules_%s_total", short_name);
    if (strcmp(short_name, "errors") == 0 || strcmp(short_name, "limit") == 0)
        return luaL_error(L, "cs.counter: %s is the host's own", name);
    struct counter **counter = lua_newuserdata(L, sizeof(*counter));
    *counter = NULL;
    lua_getfield(L, LUA_REGISTRYINDEX, COUNTER);
    lua_setmetatable(L, -2);
    const char *problem = NULL;
    const struct family *family = find_family(name, labels, n_labels, &problem);
    if (!family)
        return luaL_error(L, "cs.counter: %s: %s", name, problem);
    struct metrics *metrics = rules_state_of(L)->options.metrics;
    if (metrics)
        *counter = metrics_counter(metrics, family->name, "Counted by the rules", labels, n_labels);
    return 1;
}

static int l_add(lua_State *L)
{
    struct counter **counter = luaL_checkudata(L, 1, COUNTER);
    double amount = luaL_optnumber(L, 2, 1);
    if (!(amount >= 0 && amount <= 1e15 && amount == floor(amount)))
        return luaL_argerror(L, 2, "a whole number, not negative, expected");
    if (*counter && !rules_state_of(L)->rehearsing)
        counter_add(*counter, (uint64_t)amount);
    return 0;
}

void rules_counter_open(lua_State *L)
{
    luaL_newmetatable(L, COUNTER);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, l_add);
    lua_setfield(L, -2, "add");
    rules_freeze(L, lua_gettop(L));
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
