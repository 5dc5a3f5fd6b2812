/* The admin listener's view of the rules: GET /admin/rules, POST /admin/rules/reload,
 * /admin/rules/rollback, /admin/rules/check. */
#ifndef APP_ADMIN_RULES_H
#define APP_ADMIN_RULES_H

#include "app/reload.h"
#include "config/settings.h"
#include "http/admin.h"
#include "store/control.h"

struct admin_rules; /* what the handlers need; lives as long as the listener */

struct admin_rules *admin_rules_register(struct admin_server *server, struct reload *reload,
                                         struct control *control, const struct settings *settings);
void admin_rules_free(struct admin_rules *admin);

#endif
