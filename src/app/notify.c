#include "app/notify.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

static int notify_fd = -1;

/* A leading @ stands for the NUL of an abstract name. */
static bool make_address(const char *name, struct sockaddr_un *address, socklen_t *size)
{
    size_t length = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || length >= sizeof address->sun_path)
        return false;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, name, length);
    if (name[0] == '@')
        address->sun_path[0] = '\0';
    *size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    return true;
}

void notify_open(void)
{
    struct sockaddr_un address;
    socklen_t size;
    const char *name = getenv("NOTIFY_SOCKET");
    if (!name || !*name)
        return;
    if (make_address(name, &address, &size)) {
        notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (notify_fd >= 0 && connect(notify_fd, (struct sockaddr *)&address, size) < 0) {
            log_warn("app", "NOTIFY_SOCKET=%s: %s", name, strerror(errno));
            notify_close();
        }
    } else {
        log_warn("app", "NOTIFY_SOCKET=%s: neither a path nor an abstract name", name);
    }
    unsetenv("NOTIFY_SOCKET");
}

void notify_close(void)
{
    if (notify_fd >= 0)
        close(notify_fd);
    notify_fd = -1;
}

void notify_send(const char *state)
{
    if (notify_fd >= 0 && send(notify_fd, state, strlen(state), MSG_NOSIGNAL) < 0)
        log_debug("app", "the service manager was not told '%s': %s", state, strerror(errno));
}
