/* SPDX-License-Identifier: Apache-2.0
 *
 * Virtual hosts by discovery (VHDS): those of one route configuration that came by discovery itself,
 * each a resource "<route configuration>/<host>". Private to route_source.c. Main thread.
 */
#ifndef PROXY_ROUTE_VHDS_H
#define PROXY_ROUTE_VHDS_H

#include "proxy/route/route.h"

struct config_frame; /* config/resources.h */
struct resource;
struct vhds;
struct vhost_ask; /* route/vhost_ask.h */
struct warm_source;

struct vhds_owner {
    /* The table that is shown now; NULL: none. */
    const struct route_table *(*table)(void *user, const struct route_config_spec **spec);
    /* The next one, of the same spec. */
    void (*show)(void *user, struct route_table *take_table);
};
struct vhds *vhds_new(const struct config_source *source, struct str config_name, struct str manager, struct config_frame *keep_frame,
                      const struct vhds_owner *keep_owner, void *user);
void vhds_free(struct vhds **v); /* NULL is fine */
const struct config_source *vhds_source(const struct vhds *v);
struct warm_source *vhds_warm(struct vhds *v); /* the first answer */
/* Puts all that has come into the first table of another spec. False: `faults` say why it can't be. */
bool vhds_fill(struct vhds *v, const struct route_config_spec *spec, struct route_table *t, struct err_list *faults);
/* On demand: answered when the server has told whether there is such a virtual host (or at once where that is known, or too
 * many names have been asked for). */
void vhds_ask(struct vhds *v, struct vhost_ask *take_ask);
void vhds_forget(struct vhost_ask *a); /* which hasn't been answered */
void vhds_each(const struct vhds *v, void (*fn)(const struct resource *r, void *arg), void *arg);

#endif
