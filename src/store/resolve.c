#include "store/resolve.h"

#include <errno.h>
#include <event2/event.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/memory.h"

/* What the thread works on. It outlives a cancelled question, as getaddrinfo cannot be stopped: the
 * last of the two holders frees it. */
struct lookup {
    atomic_int holders;
    int wake_fd;
    char **names;
    struct resolved_host *answers;
    size_t n;
};

struct resolve {
    struct lookup *lookup;
    struct event *event;
    void (*done)(const struct resolved_host *hosts, size_t n_hosts, void *arg);
    void *arg;
};

static void lookup_release(struct lookup *lookup)
{
    if (atomic_fetch_sub(&lookup->holders, 1) > 1)
        return;
    close(lookup->wake_fd);
    for (size_t i = 0; i < lookup->n; i++) {
        for (size_t j = 0; j < lookup->answers[i].n_addresses; j++)
            free(lookup->answers[i].addresses[j]);
        free(lookup->answers[i].addresses);
        free(lookup->names[i]);
    }
    free(lookup->names);
    free(lookup->answers);
    free(lookup);
}

static void add_address(struct resolved_host *answer, const struct addrinfo *info)
{
    char text[NI_MAXHOST];
    if (getnameinfo(info->ai_addr, info->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST))
        return;
    size_t n = answer->n_addresses + 1;
    answer->addresses = memory_resize(answer->addresses, n * sizeof *answer->addresses);
    answer->addresses[answer->n_addresses++] = memory_string(text);
}

static void look_up(const char *name, struct resolved_host *answer)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int code = getaddrinfo(name, NULL, &hints, &found);
    if (code) {
        const char *reason = code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code);
        error_set(&answer->err, "could not resolve host \"%s\": %s", name, reason);
        return;
    }
    for (const struct addrinfo *info = found; info; info = info->ai_next)
        add_address(answer, info);
    freeaddrinfo(found);
    if (!answer->n_addresses)
        error_set(&answer->err, "host \"%s\" has no address", name);
}

static void answer(struct lookup *lookup)
{
    uint64_t one = 1;
    if (write(lookup->wake_fd, &one, sizeof one) != sizeof one)
        die("eventfd: %s", strerror(errno));
    lookup_release(lookup);
}

static void *run_lookup(void *arg)
{
    struct lookup *lookup = arg;
    for (size_t i = 0; i < lookup->n; i++)
        if (lookup->names[i])
            look_up(lookup->names[i], &lookup->answers[i]);
    answer(lookup);
    return NULL;
}

/* Without a thread every name fails with the reason; the caller tries again later as for any other
 * failure. */
static void start_thread(struct lookup *lookup)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the main thread */
    atomic_fetch_add(&lookup->holders, 1);
    int code = pthread_create(&thread, NULL, run_lookup, lookup);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!code) {
        pthread_detach(thread);
        return;
    }
    for (size_t i = 0; i < lookup->n; i++)
        error_set(&lookup->answers[i].err, "no thread to resolve names: %s", strerror(code));
    answer(lookup);
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct resolve *resolve = arg;
    struct lookup *lookup = resolve->lookup;
    uint64_t one;
    if (read(fd, &one, sizeof one) != sizeof one) /* after this, the thread's work is ours to see */
        die("eventfd: %s", strerror(errno));
    event_free(resolve->event);
    resolve->done(lookup->answers, lookup->n, resolve->arg);
    free(resolve);
    lookup_release(lookup);
}

struct resolve *resolve_start(struct event_base *base, const char *const *hosts, size_t n_hosts,
                              void (*done)(const struct resolved_host *hosts, size_t n_hosts,
                                           void *arg),
                              void *arg)
{
    struct lookup *lookup = memory_zero(1, sizeof *lookup);
    atomic_init(&lookup->holders, 1);
    lookup->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (lookup->wake_fd < 0)
        die("eventfd: %s", strerror(errno));
    lookup->names = memory_zero(n_hosts, sizeof *lookup->names);
    lookup->answers = memory_zero(n_hosts, sizeof *lookup->answers);
    lookup->n = n_hosts;
    for (size_t i = 0; i < n_hosts; i++)
        lookup->names[i] = hosts[i] ? memory_string(hosts[i]) : NULL;

    struct resolve *resolve = memory_zero(1, sizeof *resolve);
    resolve->lookup = lookup;
    resolve->done = done;
    resolve->arg = arg;
    resolve->event = event_new(base, lookup->wake_fd, EV_READ, on_answer, resolve);
    if (!resolve->event || event_add(resolve->event, NULL))
        die("no event for a name lookup");
    start_thread(lookup);
    return resolve;
}

void resolve_cancel(struct resolve *resolve)
{
    if (!resolve)
        return;
    event_free(resolve->event);
    lookup_release(resolve->lookup);
    free(resolve);
}
