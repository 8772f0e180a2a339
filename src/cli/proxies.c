/* SPDX-License-Identifier: Apache-2.0
 *
 * Two sources, one form. Envoy's admin pages are read by their own names, so that a stock Envoy can be asked as well.
 */
#include "cli/proxies.h"

#include "base/check.h"
#include "cli/ask.h"
#include "io/addr.h"

#include <stdio.h>

bool proxies_is_address(const char *text)
{
    struct addr a = {0};
    return addr_from_ip_port(&a, str_from(text), NULL) == 0;
}

struct str proxies_short_name(const char *id)
{
    struct str rest = str_from(id), name = STR_NULL;
    for (int i = 0; i < 3; i++)
        name = str_split(rest, '~', &rest);
    return name.n ? name : str_from(id);
}

bool proxies_is_called(const char *id, const char *name)
{
    struct str own = proxies_short_name(id), asked = str_from(name), ns;
    return str_eq(str_from(id), asked) || str_eq(own, asked) || str_eq(str_split(own, '.', &ns), asked);
}

int proxies_read(const char *weftd, json_t **out, struct err *err)
{
    int rc = ask_json(weftd, "/debug/syncz", STR_NULL, out, err);
    if (rc == 0 && !json_is_array(*out)) {
        json_decref(*out);
        *out = NULL;
        return err_set(err, ERR_INVALID, "http://%s/debug/syncz: isn't a list of proxies", weftd);
    }
    return rc;
}

int proxies_find(const json_t *list, const char *name, const json_t **out, struct err *err)
{
    size_t i;
    const json_t *one;
    *out = NULL;
    json_array_foreach(list, i, one) {
        const char *id = ask_text(one, "proxy");
        if (!proxies_is_called(id, name))
            continue;
        if (*out)
            return err_set(err, ERR_INVALID, "'%s' is the name of several proxies: %s, %s", name, ask_text(*out, "proxy"), id);
        *out = one;
    }
    return *out ? 0 : err_set(err, ERR_NOT_FOUND, "there is no proxy '%s' among the %zu that are connected", name, json_array_size(list));
}

/* ---- from a proxy ---- */

int proxies_check_admin(const char *admin, const char *name, struct err *err)
{
    json_t *info;
    int rc = ask_json(admin, "/server_info", STR_NULL, &info, err);
    if (rc == 0 && !proxies_is_called(ask_text(info, "node.id"), name))
        rc = err_set(err, ERR_INVALID, "the proxy at %s isn't '%s' but '%s'", admin, name, ask_text(info, "node.id"));
    json_decref(info);
    return rc;
}

/* Where the parts of /config_dump keep their items, and what of an item is the resource ("": all of it). */
static const struct place {
    const char *kind, *list, *resource;
} places[] = {
    {"listeners", "static_listeners", "listener"},
    {"listeners", "dynamic_listeners", "active_state.listener"},
    {"routes", "static_route_configs", "route_config"},
    {"routes", "dynamic_route_configs", "route_config"},
    {"clusters", "static_clusters", "cluster"},
    {"clusters", "dynamic_active_clusters", "cluster"},
    {"secrets", "static_secrets", ""},
    {"secrets", "dynamic_active_secrets", ""},
    {"secrets", "dynamic_warming_secrets", ""},
};

static const char *const kinds[] = {"listeners", "routes", "clusters", "endpoints", "secrets"};

static json_t *new_config(void)
{
    json_t *config = json_object();
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        json_object_set_new(config, kinds[i], json_array());
    return config;
}

static void add(json_t *config, const char *kind, const json_t *resource)
{
    if (resource)
        json_array_append(json_object_get(config, kind), (json_t *)(uintptr_t)resource);
}

static void add_part(json_t *config, const json_t *part)
{
    size_t i;
    const json_t *item;
    for (size_t k = 0; k < ARRAY_LEN(places); k++)
        json_array_foreach(ask_field(part, places[k].list), i, item)
            add(config, places[k].kind, ask_field(item, places[k].resource));
}

int proxies_config_of_admin(const char *admin, json_t **out, struct err *err)
{
    json_t *dump = NULL, *clusters = NULL;
    const json_t *part;
    size_t i;
    int rc = ask_json(admin, "/config_dump", STR_NULL, &dump, err);
    if (rc == 0)
        rc = ask_json(admin, "/clusters?format=json", STR_NULL, &clusters, err);
    if (rc == 0 && !json_is_array(ask_field(dump, "configs")))
        rc = err_set(err, ERR_INVALID, "http://%s/config_dump: isn't a proxy's", admin);
    if (rc == 0) {
        *out = new_config();
        json_array_foreach(ask_field(dump, "configs"), i, part)
            add_part(*out, part);
        json_array_foreach(ask_field(clusters, "cluster_statuses"), i, part)
            add(*out, "endpoints", part);
    }
    json_decref(dump);
    json_decref(clusters);
    return rc;
}

/* ---- from weftd ---- */

/* "9080/reviews.bookinfo.svc.cluster.local:9080" is of the routes "9080". */
static void add_virtual_host(json_t *config, const json_t *item)
{
    struct str rest, name = str_split(str_from(ask_text(item, "name")), '/', &rest);
    json_t *routes;
    size_t i;
    json_array_foreach(json_object_get(config, "routes"), i, routes) {
        if (!str_eq(str_from(ask_text(routes, "name")), name))
            continue;
        json_t *hosts = json_object_get(routes, "virtual_hosts");
        if (!hosts)
            json_object_set_new(routes, "virtual_hosts", hosts = json_array());
        json_array_append(hosts, json_object_get(item, "resource"));
    }
}

static void add_type(json_t *config, const json_t *dump, const char *type, const char *kind)
{
    size_t i;
    const json_t *item;
    json_array_foreach(json_object_get(dump, type), i, item)
        add(config, kind, json_object_get(item, "resource"));
}

/* It goes into a URL as it stands: weftd decodes none. */
static bool is_usual(const char *id)
{
    for (; *id; id++)
        if (*id <= ' ' || *id > '~' || strchr("&?#%", *id))
            return false;
    return true;
}

int proxies_config_of_weftd(const char *weftd, const char *id, json_t **out, struct err *err)
{
    struct strbuf path = {0};
    json_t *dump;
    const json_t *item;
    size_t i;
    if (!is_usual(id))
        return err_set(err, ERR_UNSUPPORTED, "'%s' can't be asked for: it has characters that an id doesn't have", id);
    strbuf_addf(&path, "/debug/config_dump?proxyID=%s", id);
    int rc = ask_json(weftd, path.p, STR_NULL, &dump, err);
    strbuf_fini(&path);
    if (rc < 0)
        return rc;
    if (!json_is_array(json_object_get(dump, "cds"))) {
        json_decref(dump);
        return err_set(err, ERR_NOT_FOUND, "http://%s: has nothing of '%s'", weftd, id);
    }
    *out = new_config();
    add_type(*out, dump, "lds", "listeners");
    add_type(*out, dump, "rds", "routes");
    add_type(*out, dump, "cds", "clusters");
    add_type(*out, dump, "eds", "endpoints");
    json_array_foreach(json_object_get(dump, "vhds"), i, item)
        add_virtual_host(*out, item);
    json_decref(dump);
    return 0;
}
