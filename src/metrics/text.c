/* The registry as text, in Prometheus' exposition format. */
#include <inttypes.h>
#include <math.h>

#include "metrics/escape.h"
#include "metrics/registry.h"

static const char *const kind_names[] = {"counter", "gauge", "histogram"};

static void write_value(struct buffer *out, double value)
{
    if (isnan(value))
        buffer_append_string(out, "NaN");
    else if (isinf(value))
        buffer_append_string(out, value > 0 ? "+Inf" : "-Inf");
    else
        buffer_append_double(out, value);
}

/* name_suffix{labels} and a space. */
static void write_name(struct buffer *out, const struct family *family, const char *suffix,
                       const struct series *series)
{
    buffer_printf(out, "%s%s", family->name, suffix);
    if (series->labels[0] != '\0')
        buffer_printf(out, "{%s}", series->labels);
    buffer_append_byte(out, ' ');
}

static void write_bucket(struct buffer *out, const struct family *family,
                         const struct series *series, double bound, uint64_t count)
{
    const char *comma = series->labels[0] != '\0' ? "," : "";
    buffer_printf(out, "%s_bucket{%s%sle=\"", family->name, series->labels, comma);
    write_value(out, bound);
    buffer_printf(out, "\"} %" PRIu64 "\n", count);
}

/* The count is the sum of the buckets that were read, so that the two never disagree. */
static void write_histogram(struct buffer *out, const struct family *family,
                            const struct series *series)
{
    const struct histogram *histogram = &series->histogram;
    uint64_t count = 0;
    for (size_t i = 0; i <= histogram->n_bounds; i++) {
        count += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
        double bound = i < histogram->n_bounds ? histogram->bounds[i] : INFINITY;
        write_bucket(out, family, series, bound, count);
    }
    write_name(out, family, "_sum", series);
    write_value(out,
                metrics_double(atomic_load_explicit(&histogram->sum_bits, memory_order_relaxed)));
    buffer_append_byte(out, '\n');
    write_name(out, family, "_count", series);
    buffer_printf(out, "%" PRIu64 "\n", count);
}

static void write_series(struct buffer *out, const struct family *family,
                         const struct series *series)
{
    switch (family->kind) {
    case KIND_COUNTER:
        write_name(out, family, "", series);
        buffer_printf(out, "%" PRIu64 "\n", counter_get(&series->counter));
        break;
    case KIND_GAUGE:
        write_name(out, family, "", series);
        write_value(out, gauge_get(&series->gauge));
        buffer_append_byte(out, '\n');
        break;
    case KIND_HISTOGRAM:
        write_histogram(out, family, series);
        break;
    }
}

static bool is_hidden(const struct family *family, const struct series *series)
{
    return family->kind == KIND_GAUGE &&
           atomic_load_explicit(&series->gauge.hidden, memory_order_relaxed);
}

static void write_family(struct buffer *out, const struct family *family)
{
    bool headed = false;
    for (const struct series *series = family->series; series; series = series->next) {
        if (is_hidden(family, series))
            continue;
        if (!headed) {
            buffer_printf(out, "# HELP %s ", family->name);
            metrics_append_escaped(out, family->help, false);
            buffer_printf(out, "\n# TYPE %s %s\n", family->name, kind_names[family->kind]);
            headed = true;
        }
        write_series(out, family, series);
    }
}

/* Without the lock, as collectors name series; they are never taken out of the list. */
static void run_collectors(struct metrics *metrics)
{
    pthread_mutex_lock(&metrics->lock);
    struct collector *collector = metrics->collectors;
    pthread_mutex_unlock(&metrics->lock);
    while (collector) {
        collector->collect(collector->arg);
        pthread_mutex_lock(&metrics->lock);
        collector = collector->next;
        pthread_mutex_unlock(&metrics->lock);
    }
}

void metrics_write(struct metrics *metrics, struct buffer *out)
{
    run_collectors(metrics);
    pthread_mutex_lock(&metrics->lock);
    for (const struct family *family = metrics->families; family; family = family->next)
        write_family(out, family);
    pthread_mutex_unlock(&metrics->lock);
}
