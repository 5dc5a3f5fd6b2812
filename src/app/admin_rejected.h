/* The admin listener's view of what was refused: GET /admin/rejected, GET /admin/rejected/summary,
 * POST /admin/rejected/redrive. */
#ifndef APP_ADMIN_REJECTED_H
#define APP_ADMIN_REJECTED_H

#include "config/settings.h"
#include "http/admin.h"
#include "rules/generation.h"
#include "store/control.h"

struct event_base;
struct admin_rejected; /* what the handlers need; lives as long as the listener */

struct admin_rejected *admin_rejected_register(struct admin_server *server, struct event_base *base,
                                               struct rules_registry *registry,
                                               struct control *control,
                                               const struct settings *settings);
/* After the listener and the control were freed. A re-drive that runs is broken off: what it has
 * not stored stays pending. NULL is accepted. */
void admin_rejected_free(struct admin_rejected *admin);

#endif
