#include "app/waiters.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/hash.h"
#include "base/memory.h"

struct waiter {
    reload_done_cb done;
    void *arg;
    bool has_trouble; /* what else was read again could not be */
    struct error trouble;
    struct reload_result kept; /* its `hash` is the one below */
    char hash[SHA256_HEX_SIZE];
    struct waiter *next;
};

struct waiter *waiters_new(reload_done_cb done, void *arg, const struct error *trouble)
{
    struct waiter *waiter = memory_zero(1, sizeof *waiter);
    waiter->done = done;
    waiter->arg = arg;
    waiter->has_trouble = trouble != NULL;
    if (trouble)
        waiter->trouble = *trouble;
    return waiter;
}

void waiters_join(struct waiter **list, struct waiter *more)
{
    LL_CONCAT(*list, more);
}

static void tell(struct waiter *waiter, const struct reload_result *result)
{
    struct reload_result its = *result;
    its.trouble = waiter->has_trouble ? &waiter->trouble : NULL;
    waiter->done(&its, waiter->arg);
    free(waiter);
}

void waiters_answer(struct waiter *list, const struct reload_result *result)
{
    while (list) {
        struct waiter *next = list->next;
        tell(list, result);
        list = next;
    }
}

void waiters_keep_result(struct waiter *list, const struct reload_result *result)
{
    for (; list; list = list->next) {
        list->kept = *result;
        snprintf(list->hash, sizeof list->hash, "%s", result->hash);
        list->kept.hash = list->hash;
        list->kept.err = NULL; /* what is kept went well */
    }
}

void waiters_answer_kept(struct waiter *list, const struct error *trouble)
{
    while (list) {
        struct waiter *next = list->next;
        if (trouble) {
            list->has_trouble = true;
            list->trouble = *trouble;
        }
        tell(list, &list->kept);
        list = next;
    }
}

void waiters_free(struct waiter *list)
{
    while (list) {
        struct waiter *next = list->next;
        free(list);
        list = next;
    }
}
