/* Finds what PostgreSQL refuses in a batch, without knowing how to write: a plan that says what to
 * try next and is told how it went.
 *
 * A refused run of entries is halved from its front until one entry is left; runs that pass are
 * stored as they are found, and the next run is twice as long. A single refused entry is suspect
 * only: another row of the same table decides. When none passes it is the table's trouble, and its
 * topic is held. When one does, the entry is stored once more, as a trouble may have ended just
 * before that row was tried; refused again it is bad and is rejected. */
#ifndef INGEST_REFUSAL_H
#define INGEST_REFUSAL_H

#include <stddef.h>

/* How many other rows are tried before the table is blamed. */
#define REFUSAL_OTHERS_MAX 16

enum refusal_step {
    REFUSAL_WRITE,   /* store entries [from, to) */
    REFUSAL_WITNESS, /* rehearse the row that the suspect's table accepted last */
    REFUSAL_OTHER,   /* rehearse other row number `other` of REFUSAL_OTHERS_MAX of that table */
    REFUSAL_AGAIN,   /* store entry `from` again */
    REFUSAL_REJECT,  /* make entry `from` a rejected one */
    REFUSAL_HOLD,    /* leave out entry `from` and those behind it that share its topic */
    REFUSAL_DONE,    /* all entries are dealt with */
};

enum refusal_answer {
    REFUSAL_PASSED,  /* stored, passed, done */
    REFUSAL_REFUSED, /* PostgreSQL refused it */
    REFUSAL_MISSING, /* WITNESS and OTHER: there is no such row */
};

struct refusal {
    enum refusal_step step;
    size_t from;
    size_t to;
    size_t other;
    size_t n_entries;
    size_t n_refused_rows; /* witnesses and others that were refused for the present suspect */
};

void refusal_begin(struct refusal *plan, size_t n_entries);
/* Tells how the present step went and makes the next one the present. What is to be tried again
 * later is simply not told yet. */
void refusal_tell(struct refusal *plan, enum refusal_answer answer);
const char *refusal_step_name(enum refusal_step step);

#endif
