/* Requests counted and timed by endpoint. A tally belongs to one thread; the series that it adds to
 * are shared. */
#ifndef HTTP_TALLY_H
#define HTTP_TALLY_H

#include <stddef.h>

#include "metrics/metrics.h"

#define TALLY_SERIES_MAX 16

struct tally {
    struct metrics *metrics;
    const char *endpoint; /* borrowed: a path pattern, never what a client sent */
    struct histogram *seconds;
    struct tally_series {
        const char *method;
        int status;
        struct counter *counter;
    } series[TALLY_SERIES_MAX]; /* handles that were looked up already */
    size_t n_series;
};

void tally_init(struct tally *tally, struct metrics *metrics, const char *endpoint);
/* `method` is a literal. */
void tally_add(struct tally *tally, const char *method, int status, double seconds);

#endif
