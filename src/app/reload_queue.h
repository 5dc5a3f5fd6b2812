/* Reloads that were asked for while another one runs, in their order. Main thread. */
#ifndef APP_RELOAD_QUEUE_H
#define APP_RELOAD_QUEUE_H

#include <stdbool.h>

#include "app/reload.h"
#include "app/waiters.h"

struct reload_order {
    enum reload_cause cause;
    bool force;
    bool keeps_failure; /* what failed before it stays said: it puts earlier rules into force */
    struct waiter *waiters;
    struct reload_order *next;
};

/* Adds it with its waiters. One reading of the files serves all that ask for it before it begins:
 * two such orders in a row become one. */
void reload_queue_add(struct reload_order **queue, const struct reload_order *order);
/* Takes the first, waiters included. False: there is none. */
bool reload_queue_take(struct reload_order **queue, struct reload_order *first);
/* Without telling anybody. */
void reload_queue_free(struct reload_order **queue);

#endif
