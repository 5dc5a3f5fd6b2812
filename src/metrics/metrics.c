#include "metrics/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "metrics/escape.h"
#include "metrics/registry.h"

/* ---- numbers that several threads write ---- */

static uint64_t bits_of(double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static void add_to_bits(_Atomic uint64_t *bits, double amount)
{
    uint64_t seen = atomic_load_explicit(bits, memory_order_relaxed);
    uint64_t wanted;
    do {
        wanted = bits_of(metrics_double(seen) + amount);
    } while (!atomic_compare_exchange_weak_explicit(bits, &seen, wanted, memory_order_relaxed,
                                                    memory_order_relaxed));
}

void counter_add(struct counter *counter, uint64_t amount)
{
    atomic_fetch_add_explicit(&counter->total, amount, memory_order_relaxed);
}

uint64_t counter_get(const struct counter *counter)
{
    return atomic_load_explicit(&counter->total, memory_order_relaxed);
}

void gauge_set(struct gauge *gauge, double value)
{
    atomic_store_explicit(&gauge->bits, bits_of(value), memory_order_relaxed);
    atomic_store_explicit(&gauge->hidden, false, memory_order_relaxed);
}

void gauge_add(struct gauge *gauge, double amount)
{
    add_to_bits(&gauge->bits, amount);
    atomic_store_explicit(&gauge->hidden, false, memory_order_relaxed);
}

double gauge_get(const struct gauge *gauge)
{
    return metrics_double(atomic_load_explicit(&gauge->bits, memory_order_relaxed));
}

void gauge_hide(struct gauge *gauge)
{
    atomic_store_explicit(&gauge->hidden, true, memory_order_relaxed);
}

void histogram_observe(struct histogram *histogram, double value)
{
    size_t bucket = 0;
    while (bucket < histogram->n_bounds && !(value <= histogram->bounds[bucket]))
        bucket++;
    atomic_fetch_add_explicit(&histogram->buckets[bucket], 1, memory_order_relaxed);
    add_to_bits(&histogram->sum_bits, value);
}

/* ---- the registry ---- */

struct metrics *metrics_new(void)
{
    struct metrics *metrics = memory_zero(1, sizeof *metrics);
    if (pthread_mutex_init(&metrics->lock, NULL) != 0)
        die("no mutex");
    return metrics;
}

static void free_series(struct family *family)
{
    struct series *series = family->series;
    while (series) {
        struct series *next = series->next;
        if (family->kind == KIND_HISTOGRAM)
            free(series->histogram.buckets);
        free(series->labels);
        free(series);
        series = next;
    }
}

static void free_family(struct family *family)
{
    free_series(family);
    for (size_t i = 0; i < family->n_labels; i++)
        free(family->label_names[i]);
    free(family->label_names);
    free(family->bounds);
    free(family->help);
    free(family->name);
    free(family);
}

void metrics_free(struct metrics *metrics)
{
    if (!metrics)
        return;
    while (metrics->families) {
        struct family *family = metrics->families;
        metrics->families = family->next;
        free_family(family);
    }
    while (metrics->collectors) {
        struct collector *collector = metrics->collectors;
        metrics->collectors = collector->next;
        free(collector);
    }
    pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}

/* Letters, digits and underscores, no digit first. */
static bool is_name(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    return *name != '\0' && !(*name >= '0' && *name <= '9') && name[strspn(name, allowed)] == '\0';
}

/* What a caller says about the family of the series it wants. */
struct wanted {
    enum kind kind;
    const char *name;
    const char *help;
    const double *bounds;
    size_t n_bounds;
    const struct label *labels;
    size_t n_labels;
};

/* Where the family stands in the list, or where it would be put. */
static struct family **find_family(struct metrics *metrics, const char *name)
{
    struct family **at = &metrics->families;
    while (*at && strcmp((*at)->name, name) < 0)
        at = &(*at)->next;
    return at;
}

static bool is_family(const struct family *family, const char *name)
{
    return family && strcmp(family->name, name) == 0;
}

static void copy_bounds(struct family *family, const struct wanted *wanted)
{
    family->bounds = memory_zero(wanted->n_bounds, sizeof *family->bounds);
    family->n_bounds = wanted->n_bounds;
    for (size_t i = 0; i < wanted->n_bounds; i++) {
        if (!isfinite(wanted->bounds[i]) || (i > 0 && wanted->bounds[i] <= wanted->bounds[i - 1]))
            die("%s: bounds must be finite and ascending", wanted->name);
        family->bounds[i] = wanted->bounds[i];
    }
}

static struct family *new_family(const struct wanted *wanted)
{
    if (!is_name(wanted->name))
        die("\"%s\" cannot name a metric", wanted->name);
    struct family *family = memory_zero(1, sizeof *family);
    family->kind = wanted->kind;
    family->name = memory_string(wanted->name);
    family->help = memory_string(wanted->help);
    family->label_names = memory_zero(wanted->n_labels, sizeof *family->label_names);
    family->n_labels = wanted->n_labels;
    for (size_t i = 0; i < wanted->n_labels; i++) {
        if (!is_name(wanted->labels[i].name))
            die("%s: \"%s\" cannot name a label", wanted->name, wanted->labels[i].name);
        family->label_names[i] = memory_string(wanted->labels[i].name);
    }
    copy_bounds(family, wanted);
    family->series_end = &family->series;
    return family;
}

static bool family_fits(const struct family *family, const struct wanted *wanted)
{
    if (family->kind != wanted->kind || family->n_labels != wanted->n_labels ||
        family->n_bounds != wanted->n_bounds)
        return false;
    for (size_t i = 0; i < family->n_labels; i++) {
        if (strcmp(family->label_names[i], wanted->labels[i].name) != 0)
            return false;
    }
    for (size_t i = 0; i < family->n_bounds; i++) {
        if (family->bounds[i] != wanted->bounds[i])
            return false;
    }
    return true;
}

/* `value` stands for every label when it is given. The caller frees the text. */
static char *make_labels(const struct wanted *wanted, const char *value)
{
    struct buffer text = {0};
    buffer_append_string(&text, "");
    for (size_t i = 0; i < wanted->n_labels; i++) {
        buffer_printf(&text, "%s%s=\"", i > 0 ? "," : "", wanted->labels[i].name);
        metrics_append_escaped(&text, value ? value : wanted->labels[i].value, true);
        buffer_append_byte(&text, '"');
    }
    return text.data;
}

static struct series *find_series(const struct family *family, const char *labels)
{
    struct series *series = family->series;
    while (series && strcmp(series->labels, labels) != 0)
        series = series->next;
    return series;
}

/* Takes `labels` over. */
static struct series *add_series(struct family *family, char *labels)
{
    struct series *series = memory_zero(1, sizeof *series);
    series->labels = labels;
    if (family->kind == KIND_HISTOGRAM) {
        series->histogram.bounds = family->bounds;
        series->histogram.n_bounds = family->n_bounds;
        series->histogram.buckets =
            memory_zero(family->n_bounds + 1, sizeof *series->histogram.buckets);
    }
    *family->series_end = series;
    family->series_end = &series->next;
    family->n_series++;
    return series;
}

/* The last place in a family is kept for the series that all later ones share. */
static struct series *find_or_add_series(struct family *family, const struct wanted *wanted)
{
    char *labels = make_labels(wanted, NULL);
    struct series *series = find_series(family, labels);
    if (!series && family->n_series >= METRICS_SERIES_MAX - 1) {
        free(labels);
        labels = make_labels(wanted, "other");
        series = find_series(family, labels);
    }
    if (!series)
        return add_series(family, labels);
    free(labels);
    return series;
}

static struct series *find_or_make(struct metrics *metrics, const struct wanted *wanted)
{
    pthread_mutex_lock(&metrics->lock);
    struct family **at = find_family(metrics, wanted->name);
    if (!is_family(*at, wanted->name)) {
        struct family *family = new_family(wanted);
        family->next = *at;
        *at = family;
    } else if (!family_fits(*at, wanted)) {
        die("metric %s is named twice and differently", wanted->name);
    }
    struct series *series = find_or_add_series(*at, wanted);
    pthread_mutex_unlock(&metrics->lock);
    return series;
}

bool metrics_accepts_counter(struct metrics *metrics, const char *name, const struct label *labels,
                             size_t n_labels)
{
    struct wanted wanted = {
        .kind = KIND_COUNTER, .name = name, .labels = labels, .n_labels = n_labels};
    bool accepts = is_name(name);
    for (size_t i = 0; i < n_labels && accepts; i++)
        accepts = is_name(labels[i].name);
    pthread_mutex_lock(&metrics->lock);
    const struct family *family = *find_family(metrics, name);
    if (is_family(family, name))
        accepts = accepts && family_fits(family, &wanted);
    pthread_mutex_unlock(&metrics->lock);
    return accepts;
}

struct counter *metrics_counter(struct metrics *metrics, const char *name, const char *help,
                                const struct label *labels, size_t n_labels)
{
    struct wanted wanted = {
        .kind = KIND_COUNTER, .name = name, .help = help, .labels = labels, .n_labels = n_labels};
    return &find_or_make(metrics, &wanted)->counter;
}

struct gauge *metrics_gauge(struct metrics *metrics, const char *name, const char *help,
                            const struct label *labels, size_t n_labels)
{
    struct wanted wanted = {
        .kind = KIND_GAUGE, .name = name, .help = help, .labels = labels, .n_labels = n_labels};
    return &find_or_make(metrics, &wanted)->gauge;
}

struct histogram *metrics_histogram(struct metrics *metrics, const char *name, const char *help,
                                    const double *bounds, size_t n_bounds,
                                    const struct label *labels, size_t n_labels)
{
    struct wanted wanted = {.kind = KIND_HISTOGRAM,
                            .name = name,
                            .help = help,
                            .bounds = bounds,
                            .n_bounds = n_bounds,
                            .labels = labels,
                            .n_labels = n_labels};
    return &find_or_make(metrics, &wanted)->histogram;
}

void metrics_on_collect(struct metrics *metrics, void (*collect)(void *arg), void *arg)
{
    struct collector *collector = memory_zero(1, sizeof *collector);
    collector->collect = collect;
    collector->arg = arg;
    pthread_mutex_lock(&metrics->lock);
    struct collector **end = &metrics->collectors;
    while (*end)
        end = &(*end)->next;
    *end = collector;
    pthread_mutex_unlock(&metrics->lock);
}
