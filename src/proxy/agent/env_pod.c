/* SPDX-License-Identifier: Apache-2.0
 *
 * Who the pod is: names, addresses, labels and annotations (of the downward API's files, or of the environment), and the
 * metadata that ISTIO_META_* and ISTIO_METAJSON_* add for istiod. Main thread.
 */
#include "proxy/agent/env_priv.h"

#include "io/addr.h"
#include "proto/json.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <unistd.h>

#define PODINFO_LIMIT_BYTES ((size_t)1 << 20) /* annotations of a pod are at most 256 KiB together */
#define META STR("ISTIO_META_")
#define META_JSON STR("ISTIO_METAJSON_")

/* ---- the downward API's files: key="value", a line each, the value quoted as Go quotes ---- */

static size_t unquote(struct str s, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '\\' || i + 1 >= s.n) {
            out[n++] = s.p[i];
            continue;
        }
        char c = s.p[++i];
        out[n++] = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
    }
    return n;
}

static void read_podinfo(struct env_reading *r, const char *path, struct text_pairs *out)
{
    struct arena *a = &r->out->arena;
    struct err err = {0};
    struct str rest;
    int rc = text_read_file(path, a, PODINFO_LIMIT_BYTES, &rest, &err);
    if (rc == ERR_NOT_FOUND)
        return;
    if (rc < 0)
        env_fault(r, path, "%s", err.message);
    while (rest.n) {
        struct str value, line = str_split(rest, '\n', &rest), key = str_split(line, '=', &value);
        if (key.n == 0 || value.n < 2 || value.p[0] != '"' || value.p[value.n - 1] != '"')
            continue; /* not of that form: nothing that a kubelet writes */
        char *text = arena_bytes(a, value.n);
        size_t n = unquote(str_make(value.p + 1, value.n - 2), text);
        text_pairs_set(out, a, key, str_make(text, n));
    }
}

/* ---- ISTIO_METAJSON_* ---- */

static void take_texts(struct env_reading *r, const char *name, const struct doc_node *map, struct text_pairs *out)
{
    for (const struct doc_node *n = map->first; n; n = n->next)
        if (n->kind == DOC_STRING || n->kind == DOC_NUMBER)
            text_pairs_set(out, &r->out->arena, n->key, n->text);
        else
            env_fault(r, name, "%.*s is no text", STR_ARG(n->key));
}

static void read_meta_json(struct env_reading *r, const char *name, struct str key, struct str text)
{
    struct proto_arena *pa = proto_arena_new(0);
    struct strbuf json = {0};
    const struct doc_node *root = json_read(pa, text, name, r->faults);
    if (root && root->kind != DOC_MAP)
        env_fault(r, name, "is no JSON object");
    else if (root && str_eq(key, STR("LABELS")))
        take_texts(r, name, root, &r->out->static_labels);
    else if (root && str_eq(key, STR("ANNOTATIONS")))
        take_texts(r, name, root, &r->out->annotations);
    else
        for (const struct doc_node *n = root ? root->first : NULL; n; n = n->next) {
            strbuf_reset(&json);
            json_add_node(&json, n);
            text_pairs_set(&r->out->meta_json, &r->out->arena, n->key, strbuf_str(&json));
        }
    strbuf_fini(&json);
    proto_arena_free(&pa);
}

static void read_meta(struct env_reading *r)
{
    struct agent_env *e = r->out;
    for (size_t i = 0; i < e->config.metadata.count; i++) {
        struct text_pair p = e->config.metadata.items[i];
        if (str_has_prefix(p.key, META))
            text_pairs_set(&e->meta, &e->arena, str_make(p.key.p + META.n, p.key.n - META.n), p.value);
    }
    for (char **v = r->envp; *v; v++) {
        struct str value, name = str_split(str_from(*v), '=', &value);
        if (str_has_prefix(name, META)) {
            text_pairs_set(&e->meta, &e->arena, str_make(name.p + META.n, name.n - META.n), value);
        } else if (str_has_prefix(name, META_JSON) && value.n) {
            struct str copy = arena_str(&e->arena, name);
            read_meta_json(r, copy.p, str_make(copy.p + META_JSON.n, copy.n - META_JSON.n), value);
        }
    }
}

/* Labels of the file over those of the environment, which stay known as the static ones. */
static void read_labels(struct env_reading *r)
{
    struct agent_env *e = r->out;
    for (size_t i = 0; i < e->static_labels.count; i++)
        text_pairs_set(&e->labels, &e->arena, e->static_labels.items[i].key, e->static_labels.items[i].value);
    read_podinfo(r, AGENT_LABELS_PATH, &e->labels);
}

void env_read_annotations(struct env_reading *r)
{
    read_podinfo(r, AGENT_ANNOTATIONS_PATH, &r->out->annotations);
}

/* ---- addresses ---- */

static bool is_listed(const struct text_list *l, struct str ip)
{
    for (size_t i = 0; i < l->count; i++)
        if (str_eq(l->items[i], ip))
            return true;
    return false;
}

#define IPS_MAX 64
static void add_ip(struct env_reading *r, struct str ip)
{
    struct text_list *l = &r->out->ips;
    if (!l->items)
        l->items = arena_zalloc(&r->out->arena, IPS_MAX * sizeof *l->items);
    if (l->count < IPS_MAX && !is_listed(l, ip))
        l->items[l->count++] = arena_str(&r->out->arena, ip);
}

/* A machine without INSTANCE_IP (a VM): what its interfaces have, loopback and link-local left out. */
static void add_interfaces(struct env_reading *r, struct ifaddrs *all)
{
    for (struct ifaddrs *i = all; i; i = i->ifa_next) {
        char text[INET6_ADDRSTRLEN];
        if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK))
            continue;
        if (i->ifa_addr->sa_family == AF_INET &&
            inet_ntop(AF_INET, &((struct sockaddr_in *)i->ifa_addr)->sin_addr, text, sizeof text))
            add_ip(r, str_from(text));
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)i->ifa_addr;
        if (i->ifa_addr->sa_family == AF_INET6 && !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr) &&
            inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text))
            add_ip(r, str_from(text));
    }
}

static void read_addresses(struct env_reading *r)
{
    struct str ip = env_get(r, "INSTANCE_IP"), more = text_pairs_get(&r->out->meta, STR("INSTANCE_IPS"));
    struct addr addr = {0};
    if (ip.n && addr_from_ip(&addr, ip, 0, NULL) < 0)
        env_fault(r, "INSTANCE_IP", "'%.*s' is no IP address", STR_ARG(ip));
    else if (ip.n)
        add_ip(r, ip);
    while (more.n) {
        struct str one = str_trim(str_split(more, ',', &more));
        if (addr_from_ip(&addr, one, 0, NULL) < 0)
            env_fault(r, "ISTIO_META_INSTANCE_IPS", "'%.*s' is no IP address", STR_ARG(one));
        else
            add_ip(r, one);
    }
    addr_fini(&addr);
    struct ifaddrs *all = NULL;
    if (!ip.n && !r->out->ips.count && getifaddrs(&all) == 0) {
        add_interfaces(r, all);
        freeifaddrs(all);
    }
    if (!ip.n && !r->out->ips.count)
        env_fault(r, "INSTANCE_IP", "is not set, and no interface has an address");
}

/* ---- names ---- */

static struct str host_name(struct arena *a)
{
    char name[256] = "";
    if (gethostname(name, sizeof name - 1) < 0 || !name[0])
        return STR("localhost");
    return arena_str(a, str_from(name));
}

static struct str first_set(struct str a, struct str b)
{
    return a.n ? a : b;
}

static void read_names(struct env_reading *r)
{
    struct agent_env *e = r->out;
    struct arena *a = &e->arena;
    e->pod_name = arena_str(a, env_get(r, "POD_NAME"));
    if (!e->pod_name.n)
        e->pod_name = host_name(a);
    e->pod_namespace = arena_str(a, env_get(r, "POD_NAMESPACE"));
    if (!e->pod_namespace.n)
        env_fault(r, "POD_NAMESPACE", "must be set");
    if (strpbrk(e->pod_name.p, "~ ") || (e->pod_namespace.n && strpbrk(e->pod_namespace.p, "~ ")))
        env_fault(r, "POD_NAME", "neither it nor POD_NAMESPACE may hold '~' or spaces"); /* they are parts of the node's id */
    e->service_account = arena_str(a, first_set(env_get(r, "SERVICE_ACCOUNT"), STR("default")));
    e->host_ip = arena_str(a, env_get(r, "HOST_IP"));
    if (!e->domain.n)
        e->domain = arena_printf(a, "%.*s.svc.cluster.local", STR_ARG(e->pod_namespace));
    e->cluster_id = first_set(text_pairs_get(&e->meta, STR("CLUSTER_ID")), STR("Kubernetes"));
}

void env_read_pod(struct env_reading *r)
{
    read_meta(r);
    read_labels(r);
    read_names(r);
    read_addresses(r);
}
