/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading access control: what its three files hand each other.
 */
#ifndef PROXY_CONFIG_RBAC_PRIV_H
#define PROXY_CONFIG_RBAC_PRIV_H

#include "proxy/config/config_priv.h"
#include "proxy/rbac/rbac.h"

struct cfg_rbac_rule { struct rbac_rule *rule; struct arena *arena; }; /* EXT_RBAC_PERMISSION, EXT_RBAC_PRINCIPAL */

/* rbac_rules.c: lists are ORs. */
void cfg_permissions(struct config_reader *cr, const char *field, pb_permission *const *items, uint32_t n, struct arena *a,
                     struct rbac_rule *out);
void cfg_principals(struct config_reader *cr, const char *field, pb_principal *const *items, uint32_t n, struct arena *a,
                    struct rbac_rule *out);
/* rbac_condition.c: a CEL expression's tree as text, into `out`. What can't be evaluated is a fault at the present path. */
void cfg_cel_text(struct config_reader *cr, const pb_cel_expr *m, struct strbuf *out);

#endif
