/* The table `cs` that scripts see. Private to rules/. */
#ifndef RULES_API_H
#define RULES_API_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

struct rules_state;

/* Pushes cs. Raises. */
void rules_api_push(lua_State *L);

/* cs.log, cs.counter: one table, one function. */
void rules_log_push(lua_State *L);
int l_counter(lua_State *L);
void rules_counter_open(lua_State *L);
void rules_log_limits_free(struct rules_state *state);

/* ---- the calendar, UTC ---- */

/* 0001-01-01 to 294276-12-31, which a timestamptz can hold too; both are exact as doubles. */
#define CALENDAR_MIN_MS (-62135596800000LL)
#define CALENDAR_MAX_MS 9224317929600000LL
/* Room for "294276-12-31T23:59:59.999Z". */
#define CALENDAR_ISO_SIZE 32
void calendar_format_iso(int64_t ms, char out[CALENDAR_ISO_SIZE]);
/* "2024-01-01", "2024-01-01T10:00:00[.123][Z|+01:00]" ('T' or a space; without a zone it is UTC).
 * False for anything else. */
bool calendar_parse_iso(const char *text, int64_t *ms);
/* The same time of day `months` later, on the last day of the month when it has no such day. */
int64_t calendar_add_months(int64_t ms, int64_t months);
/* Whole, and within the two limits above. */
bool calendar_has(double ms);

#endif
