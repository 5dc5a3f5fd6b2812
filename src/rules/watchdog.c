#include "rules/watchdog.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#define TICK_SIGNAL SIGRTMIN
/* Without a timer: how many instructions run between two looks at the clock. */
#define LOOK_COUNT 200

#ifndef sigev_notify_thread_id /* older headers of glibc have no name for it */
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* ThreadSanitizer holds a signal back until the thread calls something that it intercepts, which a
 * loop in Lua never does. */
#ifdef __SANITIZE_THREAD__
int __sigaction(int number, const struct sigaction *action, struct sigaction *before);
#define set_action __sigaction
#else
#define set_action sigaction
#endif

enum phase { PHASE_NEW, PHASE_TICKS, PHASE_REFUSED };

static _Thread_local struct {
    enum phase phase;
    timer_t timer;
} own;
static _Thread_local _Atomic(struct watch *) running;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* its destructor ends the timer with the thread */

__attribute__((no_sanitize("thread"))) static void on_tick(int number, siginfo_t *info,
                                                           void *context)
{
    (void)number;
    (void)context;
    if (info->si_code != SI_TIMER)
        return;
    struct watch *watch = atomic_load_explicit(&running, memory_order_relaxed);
    for (; watch; watch = watch->outer) {
        if (watch->has_ticked)
            watch->ticks_left -= 1 + info->si_overrun;
        watch->has_ticked = true;
        if (watch->ticks_left > 0)
            continue;
        watch->ticks_left = 0;
        watch->expired = 1;
        lua_sethook(watch->L, watch->hook, LUA_MASKCOUNT, 1);
    }
}

static void on_thread_exit(void *arg)
{
    (void)arg;
    timer_delete(own.timer);
    own.phase = PHASE_NEW;
}

static void prepare_process(void)
{
    struct sigaction action = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (set_action(TICK_SIGNAL, &action, NULL) != 0)
        die("sigaction: %s", strerror(errno));
    int code = pthread_key_create(&key, on_thread_exit);
    if (code != 0)
        die("pthread_key_create: %s", strerror(code));
}

static bool start_timer(void)
{
    const struct itimerspec every = {
        .it_interval = {.tv_nsec = WATCHDOG_TICK_MS * 1000000L},
        .it_value = {.tv_nsec = WATCHDOG_TICK_MS * 1000000L},
    };
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = TICK_SIGNAL};
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &own.timer) != 0)
        return false;
    int code = pthread_setspecific(key, &own);
    if (code == 0 && timer_settime(own.timer, 0, &every, NULL) == 0)
        return true;
    if (code != 0)
        errno = code;
    else
        pthread_setspecific(key, NULL);
    int reason = errno;
    timer_delete(own.timer);
    errno = reason;
    return false;
}

static void prepare_thread(lua_State *L)
{
    static atomic_flag has_warned = ATOMIC_FLAG_INIT;
    sigset_t ticks;
    pthread_once(&once, prepare_process);
    lua_sethook(L, NULL, 0, 0); /* the dynamic linker finds it now, not in the handler */
    sigemptyset(&ticks);
    sigaddset(&ticks, TICK_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &ticks, NULL);
    own.phase = PHASE_TICKS;
    if (start_timer())
        return;
    own.phase = PHASE_REFUSED;
    if (!atomic_flag_test_and_set(&has_warned))
        log_warn("rules", "no timer of CPU time (%s): rules run slower", strerror(errno));
}

void watchdog_begin(struct watch *watch, lua_State *L, lua_Hook hook, int limit_ms)
{
    if (own.phase == PHASE_NEW)
        prepare_thread(L);
    watch->L = L;
    watch->hook = hook;
    watch->outer = atomic_load_explicit(&running, memory_order_relaxed);
    watch->has_ticked = false;
    /* Rounded up, and one more: the first tick may be seen just before the next is due. */
    watch->ticks_left = (limit_ms + WATCHDOG_TICK_MS - 1) / WATCHDOG_TICK_MS + 1;
    watch->expired = 0;
    watch->deadline_us = 0;
    if (own.phase == PHASE_REFUSED) {
        watch->deadline_us = clock_thread_cpu_us() + (int64_t)limit_ms * 1000;
        lua_sethook(L, hook, LUA_MASKCOUNT, LOOK_COUNT);
    }
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&running, watch, memory_order_relaxed);
}

bool watchdog_end(struct watch *watch)
{
    bool over = watchdog_is_over(watch);
    atomic_store_explicit(&running, watch->outer, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    if (watch->expired || watch->deadline_us > 0)
        lua_sethook(watch->L, NULL, 0, 0);
    return over;
}

bool watchdog_is_over(struct watch *watch)
{
    if (watch->expired)
        return true;
    if (watch->deadline_us == 0 || clock_thread_cpu_us() < watch->deadline_us)
        return false;
    watch->expired = 1; /* no timer: no handler comes between */
    lua_sethook(watch->L, watch->hook, LUA_MASKCOUNT, 1);
    return true;
}
