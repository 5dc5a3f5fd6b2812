/* Connections that were refused while the client may still be sending. Closed at once, the kernel
 * would reset them and the client might never read why; so our side is closed and what still comes
 * is thrown away, for a second at most. */
#ifndef HTTP_FAREWELL_H
#define HTTP_FAREWELL_H

#include <event2/util.h>
#include <stdbool.h>

struct event_base;
struct farewell;

struct farewell *farewell_new(struct event_base *base);
/* Closes what is left. NULL is accepted. */
void farewell_free(struct farewell *farewell);
/* Takes `fd` over. With many of them already it is closed at once. */
void farewell_add(struct farewell *farewell, evutil_socket_t fd);
bool farewell_is_empty(const struct farewell *farewell);

#endif
