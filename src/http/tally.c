#include "http/tally.h"

#include <stdio.h>
#include <string.h>

static const double BOUNDS[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                0.1,    0.25,  0.5,    1,     2.5,  5,     10};

void tally_init(struct tally *tally, struct metrics *metrics, const char *endpoint)
{
    const struct label label = {"endpoint", endpoint};
    *tally = (struct tally){.metrics = metrics, .endpoint = endpoint};
    tally->seconds =
        metrics_histogram(metrics, "core_service_http_request_seconds",
                          "From the complete request to the answer being handed to the socket",
                          BOUNDS, sizeof BOUNDS / sizeof BOUNDS[0], &label, 1);
}

static struct counter *look_up(const struct tally *tally, const char *method, int status)
{
    char text[16];
    snprintf(text, sizeof text, "%d", status);
    const struct label labels[] = {
        {"endpoint", tally->endpoint}, {"method", method}, {"status", text}};
    return metrics_counter(tally->metrics, "core_service_http_requests_total", "Requests answered",
                           labels, 3);
}

static struct counter *counter_of(struct tally *tally, const char *method, int status)
{
    for (size_t i = 0; i < tally->n_series; i++) {
        if (tally->series[i].status == status && strcmp(tally->series[i].method, method) == 0)
            return tally->series[i].counter;
    }
    struct counter *counter = look_up(tally, method, status);
    if (tally->n_series < TALLY_SERIES_MAX)
        tally->series[tally->n_series++] = (struct tally_series){method, status, counter};
    return counter;
}

void tally_add(struct tally *tally, const char *method, int status, double seconds)
{
    counter_add(counter_of(tally, method, status), 1);
    histogram_observe(tally->seconds, seconds);
}
