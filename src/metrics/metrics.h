/* Counters, gauges and histograms, and their text in Prometheus' exposition format 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/).
 *
 * A series is found or made under a lock, once; its handle is kept by the caller and updated
 * without one, from any thread. Handles live as long as the process. */
#ifndef METRICS_METRICS_H
#define METRICS_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

struct metrics;   /* the registry */
struct counter;   /* only grows */
struct gauge;     /* any double */
struct histogram; /* fixed buckets, given when its family is first named */

struct label {
    const char *name;
    const char *value; /* any text, escaped on output */
};

/* A family has at most this many series; later ones share one in which every label value is
 * "other", so that nobody can fill the memory with label values from outside. */
#define METRICS_SERIES_MAX 1000

struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics);

/* Find or make; every text is copied. `name` by Prometheus' conventions (core_service_..._total for
 * counters): letters, digits and underscores. The labels of a family come in one order always.
 * Naming one family with two kinds, bounds or label sets aborts. */
struct counter *metrics_counter(struct metrics *metrics, const char *name, const char *help,
                                const struct label *labels, size_t n_labels);
struct gauge *metrics_gauge(struct metrics *metrics, const char *name, const char *help,
                            const struct label *labels, size_t n_labels);
struct histogram *metrics_histogram(struct metrics *metrics, const char *name, const char *help,
                                    const double *bounds, size_t n_bounds,
                                    const struct label *labels, size_t n_labels);

/* True when metrics_counter() would take these: to be asked where a name comes from outside. */
bool metrics_accepts_counter(struct metrics *metrics, const char *name, const struct label *labels,
                             size_t n_labels);

void counter_add(struct counter *counter, uint64_t amount);
uint64_t counter_get(const struct counter *counter);
void gauge_set(struct gauge *gauge, double value);
void gauge_add(struct gauge *gauge, double amount);
double gauge_get(const struct gauge *gauge);
void histogram_observe(struct histogram *histogram, double value);

/* Takes a gauge's series out of the exposition (a partition that was revoked). The handle stays
 * valid; setting it shows it again. */
void gauge_hide(struct gauge *gauge);

/* `collect` runs in the thread that calls metrics_write, before it writes: for values that are read
 * and not kept. */
void metrics_on_collect(struct metrics *metrics, void (*collect)(void *arg), void *arg);

void metrics_write(struct metrics *metrics, struct buffer *out);

#endif
