/* What the registry keeps, for metrics.c (makes and counts) and text.c (writes). */
#ifndef METRICS_REGISTRY_H
#define METRICS_REGISTRY_H

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "metrics/metrics.h"

struct counter {
    _Atomic uint64_t total;
};

struct gauge {
    _Atomic uint64_t bits; /* of a double: not every machine has atomic doubles */
    atomic_bool hidden;
};

struct histogram {
    const double *bounds; /* the family's */
    size_t n_bounds;
    _Atomic uint64_t sum_bits;
    _Atomic uint64_t *buckets; /* n_bounds + 1: how many fell into each alone, the last is +Inf */
};

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM };

/* One set of label values of a family. */
struct series {
    struct series *next;
    char *labels; /* as they are written: symbol="BTCUSDT",stream="klines"; "" without labels */
    union {
        struct counter counter;
        struct gauge gauge;
        struct histogram histogram;
    };
};

struct family {
    struct family *next; /* by name */
    char *name;
    char *help;
    enum kind kind;
    char **label_names;
    size_t n_labels;
    double *bounds;
    size_t n_bounds;
    struct series *series; /* in the order they were made */
    struct series **series_end;
    size_t n_series;
};

struct collector {
    struct collector *next;
    void (*collect)(void *arg);
    void *arg;
};

struct metrics {
    pthread_mutex_t lock; /* over the lists, not over the numbers */
    struct family *families;
    struct collector *collectors;
};

static inline double metrics_double(uint64_t bits)
{
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

#endif
