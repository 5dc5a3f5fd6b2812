/* Whether rules fit the live schema, and which of their streams rest in it. Main thread. */
#ifndef APP_FIT_H
#define APP_FIT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "rules/generation.h"
#include "store/control.h"

/* control_load_schema() of all that one or two sets of rules (NULL: none) name; without queries:
 * what their streams name. */
void fit_load_schema(struct control *control, const struct rules_def *def,
                     const struct rules_def *also, bool with_queries,
                     void (*done)(struct schema *schema, const struct error *err, void *arg),
                     void *arg);

/* Migrations are applied and every table of every stream that does not rest fits. `err` names the
 * file. */
bool fit_check_streams(const struct schema *schema, const struct rules_def *def, struct error *err)
    __attribute__((warn_unused_result));
/* The same, and PostgreSQL can prepare every query of every endpoint; but for tables that are not
 * there, where a stream rests. */
bool fit_check(const struct schema *schema, const struct rules_def *def, struct error *err)
    __attribute__((warn_unused_result));

/* Logs what works in this schema but costs more than it needs to. */
void fit_warn(const struct schema *schema, const struct rules_def *def);

/* Marks the streams that rest: optional ones whose tables do not all exist, or are not known yet
 * (schema NULL). Before the generation is published. */
void fit_mark_resting(struct rules_generation *generation, const struct schema *schema);
/* Whether a stream rests that would be live by this schema. */
bool fit_could_wake(const struct rules_generation *generation, const struct schema *schema);
bool fit_any_rests(const struct rules_generation *generation);

#endif
