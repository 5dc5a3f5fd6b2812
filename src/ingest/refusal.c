#include "ingest/refusal.h"

#include "base/memory.h"

#define AFTER(step) (1u << (step))

static const struct {
    const char *name;
    unsigned next;
} STEPS[] = {
    [REFUSAL_WRITE] = {"write",
                       AFTER(REFUSAL_WRITE) | AFTER(REFUSAL_WITNESS) | AFTER(REFUSAL_DONE)},
    [REFUSAL_WITNESS] = {"witness", AFTER(REFUSAL_OTHER) | AFTER(REFUSAL_AGAIN)},
    [REFUSAL_OTHER] = {"other", AFTER(REFUSAL_OTHER) | AFTER(REFUSAL_AGAIN) | AFTER(REFUSAL_HOLD)},
    [REFUSAL_AGAIN] = {"again", AFTER(REFUSAL_WRITE) | AFTER(REFUSAL_REJECT) | AFTER(REFUSAL_DONE)},
    [REFUSAL_REJECT] = {"reject", AFTER(REFUSAL_WRITE)},
    [REFUSAL_HOLD] = {"hold", AFTER(REFUSAL_WRITE)},
    [REFUSAL_DONE] = {"done", 0},
};

const char *refusal_step_name(enum refusal_step step)
{
    return STEPS[step].name;
}

static void set_step(struct refusal *plan, enum refusal_step step)
{
    if (!(STEPS[plan->step].next & AFTER(step)))
        die("refusal: %s may not follow %s", STEPS[step].name, STEPS[plan->step].name);
    plan->step = step;
}

void refusal_begin(struct refusal *plan, size_t n_entries)
{
    *plan = (struct refusal){.step = n_entries > 0 ? REFUSAL_WRITE : REFUSAL_DONE,
                             .to = n_entries,
                             .n_entries = n_entries};
}

static void wrote(struct refusal *plan, enum refusal_answer answer)
{
    size_t size = plan->to - plan->from;
    if (answer == REFUSAL_PASSED) {
        plan->from = plan->to;
        size_t left = plan->n_entries - plan->from;
        plan->to = plan->from + (size * 2 < left ? size * 2 : left);
        set_step(plan, left > 0 ? REFUSAL_WRITE : REFUSAL_DONE);
    } else if (plan->step == REFUSAL_AGAIN) {
        set_step(plan, REFUSAL_REJECT);
    } else if (size > 1) {
        plan->to = plan->from + size / 2;
        set_step(plan, REFUSAL_WRITE);
    } else {
        plan->other = 0;
        plan->n_refused_rows = 0;
        set_step(plan, REFUSAL_WITNESS);
    }
}

static void tried(struct refusal *plan, enum refusal_answer answer)
{
    if (answer == REFUSAL_PASSED) {
        set_step(plan, REFUSAL_AGAIN);
        return;
    }
    if (answer == REFUSAL_REFUSED)
        plan->n_refused_rows++;

    if (plan->step == REFUSAL_WITNESS) {
        set_step(plan, REFUSAL_OTHER);
    } else if (answer == REFUSAL_MISSING || plan->other + 1 == REFUSAL_OTHERS_MAX) {
        set_step(plan, REFUSAL_HOLD);
    } else {
        plan->other++;
        set_step(plan, REFUSAL_OTHER);
    }
}

void refusal_tell(struct refusal *plan, enum refusal_answer answer)
{
    switch (plan->step) {
    case REFUSAL_WRITE:
    case REFUSAL_AGAIN:
        wrote(plan, answer);
        break;
    case REFUSAL_WITNESS:
    case REFUSAL_OTHER:
        tried(plan, answer);
        break;
    case REFUSAL_REJECT:
    case REFUSAL_HOLD:
        set_step(plan, REFUSAL_WRITE); /* the same single entry, now without its rows */
        break;
    case REFUSAL_DONE:
        die("refusal: nothing is being tried");
    }
}
