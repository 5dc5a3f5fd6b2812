#include "ingest/mailbox.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

bool mailbox_open(struct mailbox *mailbox, struct error *err)
{
    *mailbox = (struct mailbox){.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    if (mailbox->wake_fd < 0)
        return error_set(err, "eventfd: %s", strerror(errno));
    pthread_mutex_init(&mailbox->lock, NULL);
    buffer_append_string(&mailbox->reasons, "ingest is starting\n");
    return true;
}

void mailbox_close(struct mailbox *mailbox)
{
    if (mailbox->wake_fd < 0)
        return;
    close(mailbox->wake_fd);
    schema_release(mailbox->schema);
    buffer_free(&mailbox->reasons);
    pthread_mutex_destroy(&mailbox->lock);
    mailbox->wake_fd = -1;
}

void mailbox_wake(struct mailbox *mailbox)
{
    uint64_t one = 1;
    while (write(mailbox->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

void mailbox_put_schema(struct mailbox *mailbox, struct schema *schema)
{
    schema_hold(schema);
    pthread_mutex_lock(&mailbox->lock);
    struct schema *older = mailbox->schema;
    mailbox->schema = schema;
    pthread_mutex_unlock(&mailbox->lock);
    schema_release(older);
    mailbox_wake(mailbox);
}

void mailbox_put_nudge(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->lock);
    mailbox->nudged = true;
    pthread_mutex_unlock(&mailbox->lock);
    mailbox_wake(mailbox);
}

void mailbox_put_stop(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->lock);
    mailbox->stop = true;
    pthread_mutex_unlock(&mailbox->lock);
    mailbox_wake(mailbox);
}

struct mail mailbox_take(struct mailbox *mailbox)
{
    uint64_t count;
    while (read(mailbox->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&mailbox->lock);
    struct mail mail = {mailbox->schema, mailbox->nudged, mailbox->stop};
    mailbox->schema = NULL;
    mailbox->nudged = false;
    pthread_mutex_unlock(&mailbox->lock);
    return mail;
}

void mailbox_publish(struct mailbox *mailbox, struct buffer *reasons)
{
    pthread_mutex_lock(&mailbox->lock);
    struct buffer older = mailbox->reasons;
    mailbox->reasons = *reasons;
    mailbox->ready = reasons->size == 0;
    pthread_mutex_unlock(&mailbox->lock);
    *reasons = older;
}

bool mailbox_is_ready(struct mailbox *mailbox, struct buffer *reasons)
{
    pthread_mutex_lock(&mailbox->lock);
    bool ready = mailbox->ready;
    if (mailbox->reasons.size > 0)
        buffer_append(reasons, mailbox->reasons.data, mailbox->reasons.size);
    pthread_mutex_unlock(&mailbox->lock);
    return ready;
}
