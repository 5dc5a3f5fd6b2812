#include "http/gate.h"

#include <event2/bufferevent.h>
#include <event2/http.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "http/address.h"
#include "http/auth.h"
#include "http/head.h"
#include "http/rate.h"

struct gate {
    struct auth *auth;
    struct rate *rate; /* NULL: no limit */
    struct proxies *proxies;
    struct counter *limited;
};

/* ---- the rate limit ---- */

/* All zeros when the client has just left. */
static struct address peer_of(const struct request *request)
{
    struct evhttp_connection *connection = evhttp_request_get_connection(request->http);
    evutil_socket_t fd = bufferevent_getfd(evhttp_connection_get_bufferevent(connection));
    union {
        struct sockaddr any;
        struct sockaddr_storage room;
    } name;
    socklen_t size = sizeof name;
    struct address peer;
    if (getpeername(fd, &name.any, &size) < 0 || !address_of_socket(&name.any, &peer))
        return (struct address){{0}};
    return peer;
}

/* All X-Forwarded-For count: a proxy may add a header of its own instead of continuing the one that
 * the client made up. */
static struct rate_key key_of(const struct gate *gate, struct request *request)
{
    struct address client = peer_of(request);
    if (proxies_trust(gate->proxies, &client))
        client =
            proxies_client(gate->proxies, client, request_header_list(request, "X-Forwarded-For"));
    return rate_key_of_address(&client);
}

/* False: too often. */
static bool take_token(struct gate *gate, struct request *request, struct bytes subject)
{
    struct rate_key key = subject.data ? rate_key_of_subject(subject) : key_of(gate, request);
    struct rate_verdict verdict = rate_take(gate->rate, &key, clock_monotonic_us());
    head_add_number(&request->header, "RateLimit-Limit", (size_t)verdict.limit);
    head_add_number(&request->header, "RateLimit-Remaining", (size_t)verdict.remaining);
    head_add_number(&request->header, "RateLimit-Reset", (size_t)verdict.reset_s);
    if (!verdict.allowed) {
        head_add_number(&request->header, "Retry-After", (size_t)verdict.retry_after_s);
        counter_add(gate->limited, 1);
    }
    return verdict.allowed;
}

/* ---- requests ---- */

int gate_check(struct gate *gate, struct request *request, const char **text)
{
    struct auth_result auth;
    auth_check(gate->auth, request_header_list(request, "Authorization"), &request->arena, &auth);
    if (gate->rate && !take_token(gate, request, auth.subject)) {
        *text = "There are too many requests, please come back later";
        return 429;
    }
    if (auth.outcome != AUTH_PASSED) {
        head_add(&request->header, "WWW-Authenticate", auth.challenge);
        *text = auth.text;
        return 401;
    }
    request->claims = auth.claims;
    return 0;
}

struct openapi_options gate_describe(const struct gate *gate)
{
    return (struct openapi_options){
        .needs_token = auth_is_on(gate->auth),
        .is_limited = gate->rate != NULL,
    };
}

/* ---- life ---- */

struct gate *gate_new(const struct settings *settings, struct metrics *metrics, struct error *err)
{
    struct gate *gate = memory_zero(1, sizeof *gate);
    gate->proxies = proxies_new(settings->trusted_proxies, err);
    if (!gate->proxies || !(gate->auth = auth_new(settings, metrics, err))) {
        gate_free(gate);
        return NULL;
    }
    gate->limited = metrics_counter(metrics, "core_service_http_rate_limited_total",
                                    "Requests answered 429 by RATE_LIMIT_RPS", NULL, 0);
    if (settings->rate_limit_rps > 0) {
        gate->rate = rate_new(settings->rate_limit_rps, settings->rate_limit_burst);
        log_info("http", "a client may ask %g times a second", settings->rate_limit_rps);
    } else {
        log_info("http", "the rate limit is off: RATE_LIMIT_RPS is not set");
    }
    return gate;
}

void gate_free(struct gate *gate)
{
    if (!gate)
        return;
    rate_free(gate->rate);
    auth_free(gate->auth);
    proxies_free(gate->proxies);
    free(gate);
}

bool gate_reload(struct gate *gate, struct error *err)
{
    return auth_reload(gate->auth, err);
}
