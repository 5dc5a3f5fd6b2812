/* Part of every program that is built with ThreadSanitizer: C11's threads by way of POSIX threads,
 * which the sanitizer knows. librdkafka uses C11's; a thread that the sanitizer has not seen begin
 * crashes in its first malloc, and locks that it does not see look like races. glibc's types are
 * the same size. */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t), "mtx_t is a pthread_mutex_t");
_Static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t), "cnd_t is a pthread_cond_t");

/* What the sanitizer says of libraries that it does not see into:
 * - librdkafka counts references with atomics that the sanitizer does not see, and destroys a lock
 *   of an object that has none left, or uses one that another of its threads has made. C11's locks
 *   are librdkafka's alone; of the program's own none is a pthread_rwlock_t.
 *   Messages too: its threads free what was read here, after it was given back.
 * - libpq itself closes the socket of a lost connection. libevent then has its own epoll set forget
 *   a number that another thread may have been given meanwhile: the set does not know it (ENOENT).
 */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race_top:pthread_rwlock_destroy\n"
           "race:^mtx_\n"
           "race:^cnd_\n"
           "called_from_lib:librdkafka.so.1\n"
           "race_top:epoll_ctl\n";
}

struct c11_start {
    thrd_start_t run;
    void *arg;
};

static void *c11_run(void *arg)
{
    struct c11_start start = *(struct c11_start *)arg;
    free(arg);
    return (void *)(intptr_t)start.run(start.arg);
}

static int c11_result(int code)
{
    return code == 0           ? thrd_success
           : code == EBUSY     ? thrd_busy
           : code == ETIMEDOUT ? thrd_timedout
                               : thrd_error;
}

int thrd_create(thrd_t *thread, thrd_start_t run, void *arg)
{
    struct c11_start *start = malloc(sizeof(*start));
    if (!start)
        return thrd_nomem;
    *start = (struct c11_start){run, arg};
    return c11_result(pthread_create(thread, NULL, c11_run, start));
}

int thrd_join(thrd_t thread, int *result)
{
    void *value;
    int code = pthread_join(thread, &value);
    if (result)
        *result = (int)(intptr_t)value;
    return c11_result(code);
}

int thrd_detach(thrd_t thread)
{
    return c11_result(pthread_detach(thread));
}

int mtx_init(mtx_t *lock, int type)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    if (type & mtx_recursive)
        pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    return c11_result(pthread_mutex_init((pthread_mutex_t *)lock, &attributes));
}

int mtx_lock(mtx_t *lock)
{
    return c11_result(pthread_mutex_lock((pthread_mutex_t *)lock));
}

int mtx_trylock(mtx_t *lock)
{
    return c11_result(pthread_mutex_trylock((pthread_mutex_t *)lock));
}

int mtx_unlock(mtx_t *lock)
{
    return c11_result(pthread_mutex_unlock((pthread_mutex_t *)lock));
}

void mtx_destroy(mtx_t *lock)
{
    pthread_mutex_destroy((pthread_mutex_t *)lock);
}

int cnd_init(cnd_t *condition)
{
    return c11_result(pthread_cond_init((pthread_cond_t *)condition, NULL));
}

int cnd_signal(cnd_t *condition)
{
    return c11_result(pthread_cond_signal((pthread_cond_t *)condition));
}

int cnd_broadcast(cnd_t *condition)
{
    return c11_result(pthread_cond_broadcast((pthread_cond_t *)condition));
}

int cnd_wait(cnd_t *condition, mtx_t *lock)
{
    return c11_result(pthread_cond_wait((pthread_cond_t *)condition, (pthread_mutex_t *)lock));
}

int cnd_timedwait(cnd_t *condition, mtx_t *lock, const struct timespec *until)
{
    return c11_result(
        pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)lock, until));
}

void cnd_destroy(cnd_t *condition)
{
    pthread_cond_destroy((pthread_cond_t *)condition);
}
