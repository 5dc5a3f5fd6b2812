#include "ingest/worker.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/memory.h"
#include "ingest/kafka_conf.h"
#include "ingest/loop.h"
#include "ingest/mailbox.h"

struct ingest_worker {
    struct mailbox mailbox;
    struct loop *loop;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t has_ended;
    bool ended; /* under the lock */
};

bool ingest_check_settings(const struct settings *settings, struct error *err)
{
    rd_kafka_conf_t *conf = kafka_conf_new(settings, 0, err);
    if (conf)
        rd_kafka_conf_destroy(conf);
    return conf != NULL;
}

static void *run(void *arg)
{
    struct ingest_worker *worker = arg;
    loop_run(worker->loop);
    pthread_mutex_lock(&worker->lock);
    worker->ended = true;
    pthread_cond_signal(&worker->has_ended);
    pthread_mutex_unlock(&worker->lock);
    return NULL;
}

static struct ingest_worker *new_worker(void)
{
    struct ingest_worker *worker = memory_zero(1, sizeof(*worker));
    worker->mailbox.wake_fd = -1;
    pthread_mutex_init(&worker->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&worker->has_ended, &attributes);
    pthread_condattr_destroy(&attributes);
    return worker;
}

static void free_worker(struct ingest_worker *worker)
{
    loop_free(worker->loop);
    mailbox_close(&worker->mailbox);
    pthread_cond_destroy(&worker->has_ended);
    pthread_mutex_destroy(&worker->lock);
    free(worker);
}

struct ingest_worker *ingest_worker_start(const struct ingest_options *options, struct error *err)
{
    struct ingest_worker *worker = new_worker();
    if (!mailbox_open(&worker->mailbox, err))
        goto failed;
    worker->loop = loop_new(options, &worker->mailbox, err);
    if (!worker->loop)
        goto failed;
    int code = pthread_create(&worker->thread, NULL, run, worker);
    if (code != 0) {
        error_set(err, "cannot start a thread: %s", strerror(code));
        goto failed;
    }
    return worker;

failed:
    free_worker(worker);
    return NULL;
}

void ingest_worker_set_schema(struct ingest_worker *worker, struct schema *schema)
{
    mailbox_put_schema(&worker->mailbox, schema);
}

void ingest_worker_nudge(struct ingest_worker *worker)
{
    mailbox_put_nudge(&worker->mailbox);
}

void ingest_worker_stop(struct ingest_worker *worker)
{
    mailbox_put_stop(&worker->mailbox);
}

static struct timespec after_ms(int timeout_ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += timeout_ms / 1000;
    at.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

static bool wait_for_end(struct ingest_worker *worker, int timeout_ms)
{
    struct timespec until = after_ms(timeout_ms);
    int code = 0;
    pthread_mutex_lock(&worker->lock);
    while (!worker->ended && code == 0)
        code = pthread_cond_timedwait(&worker->has_ended, &worker->lock, &until);
    bool ended = worker->ended;
    pthread_mutex_unlock(&worker->lock);
    return ended;
}

bool ingest_worker_join(struct ingest_worker *worker, int timeout_ms)
{
    if (!wait_for_end(worker, timeout_ms)) {
        /* Its memory stays: the thread may use it until the process is gone. */
        pthread_detach(worker->thread);
        return false;
    }
    pthread_join(worker->thread, NULL);
    free_worker(worker);
    return true;
}

bool ingest_worker_is_ready(struct ingest_worker *worker, struct buffer *reasons)
{
    return mailbox_is_ready(&worker->mailbox, reasons);
}
