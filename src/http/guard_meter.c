#include "http/guard_meter.h"

static const char *const REASONS[N_REFUSALS] = {
    [REFUSAL_CONNECTIONS] = "connections",
    [REFUSAL_MALFORMED] = "malformed",
    [REFUSAL_TOO_LARGE] = "too_large",
    [REFUSAL_TIMEOUT] = "timeout",
};

void guard_meter_init(struct guard_meter *meter, struct metrics *metrics, const char *listener)
{
    const struct label labels[] = {{"listener", listener}};
    meter->connections = metrics_gauge(metrics, "core_service_http_connections",
                                       "Open client connections", labels, 1);
    meter->timed_out = metrics_counter(metrics, "core_service_http_timeouts_total",
                                       "Connections closed because a deadline passed", labels, 1);
    for (int i = 0; i < N_REFUSALS; i++) {
        const struct label reason[] = {{"listener", listener}, {"reason", REASONS[i]}};
        meter->refused[i] =
            metrics_counter(metrics, "core_service_http_refused_total",
                            "Requests and connections refused before routing", reason, 2);
    }
}
