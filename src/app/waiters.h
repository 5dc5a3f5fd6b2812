/* Those who wait for the outcome of a reload. Main thread. */
#ifndef APP_WAITERS_H
#define APP_WAITERS_H

#include "app/reload.h"

struct waiter; /* a list of them; NULL: nobody */

/* One who waits. `trouble`: what else was to be read again and could not be, or NULL. */
struct waiter *waiters_new(reload_done_cb done, void *arg, const struct error *trouble);
/* Puts `more` behind those in *list. */
void waiters_join(struct waiter **list, struct waiter *more);

/* Tells all of the list, which is then gone. */
void waiters_answer(struct waiter *list, const struct reload_result *result);

/* Gives each of the list this result, to be told later; texts are copied. */
void waiters_keep_result(struct waiter *list, const struct reload_result *result);
/* Tells each what it was given. `trouble`, when not NULL, is added. */
void waiters_answer_kept(struct waiter *list, const struct error *trouble);

/* Without telling anybody. */
void waiters_free(struct waiter *list);

#endif
