/* SPDX-License-Identifier: Apache-2.0
 *
 * The proxies of a mesh: which there are, as weftd tells it, and what one of them has, as it or weftd tells it.
 */
#ifndef CLI_PROXIES_H
#define CLI_PROXIES_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

bool proxies_is_address(const char *text); /* IP:PORT */
/* "productpage-v1-0.bookinfo" of "sidecar~10.1.1.1~productpage-v1-0.bookinfo~bookinfo.svc.cluster.local"; the whole id where it
 * has another form. */
struct str proxies_short_name(const char *id);
/* Is it meant by this name: its id, its short name, or that without the namespace? */
bool proxies_is_called(const char *id, const char *name);

/* /debug/syncz: a list. */
int proxies_read(const char *weftd, json_t **out, struct err *err);
/* The one of the list that is called so. ERR_NOT_FOUND, ERR_INVALID where several are. */
int proxies_find(const json_t *list, const char *name, const json_t **out, struct err *err);

/* Is the proxy with this admin page called so? ERR_INVALID names who it is. */
int proxies_check_admin(const char *admin, const char *name, struct err *err);

/* Configuration in one form, wherever it comes from: {"listeners": [Listener], "routes": [RouteConfiguration], "clusters":
 * [Cluster], "endpoints": …, "secrets": …}. Endpoints are ClusterLoadAssignments from weftd, the ClusterStatus of /clusters from
 * a proxy; secrets are what /config_dump has of them, and none from weftd, which doesn't tell any. */
int proxies_config_of_admin(const char *admin, json_t **out, struct err *err);
int proxies_config_of_weftd(const char *weftd, const char *id, json_t **out, struct err *err);

#endif
