/* SPDX-License-Identifier: Apache-2.0
 *
 * Names by their wire form, each to a host that holds the addresses of both families. What came by its own name is filed first
 * and the shorter forms only where that left room, so that no service takes another's name. Search domains and wildcards are
 * worked out when somebody asks: filed, they would double the table. Built aside on the main thread, then read only.
 */
#include "proxy/agent/name_table.h"

#include "base/arena.h"
#include "base/map.h"
#include "base/mem.h"
#include "io/addr.h"
#include "proto/message.h"
#include "proxy/agent/text.h"
#include "proxy/discovery/discovery.h"

#include <stdlib.h>

#define MESSAGE_MEMORY_BYTES ((size_t)128 << 20)
#define WILDCARD "\1*"
#define KUBERNETES "Kubernetes"

struct host {
    const uint8_t *v4, *v6;
    uint32_t v4_count, v6_count;
    struct str text, registry, shortname, namespace;
};
struct name_table {
    struct arena arena;
    struct map *by_name;      /* wire form -> host */
    struct dns_name search;   /* n 0: none */
};

/* ---- the message: table{host -> NameInfo}; generated types are the configuration's ---- */

static const ProtobufCFieldDescriptor *field_of(const ProtobufCMessage *msg, const char *name)
{
    return proto_field_find(msg->descriptor, str_from(name));
}

static size_t count_of(const ProtobufCMessage *msg, const char *name)
{
    return proto_field_count(msg, field_of(msg, name));
}

static struct str text_of(const ProtobufCMessage *msg, const char *name, size_t i)
{
    return str_from(*(char *const *)proto_field_at(msg, field_of(msg, name), i));
}

/* One of the table; *info NULL: nothing is said of the host. */
static struct str entry_of(const ProtobufCMessage *msg, size_t i, const ProtobufCMessage **info)
{
    const ProtobufCMessage *entry = proto_field_message(msg, field_of(msg, "table"), i);
    *info = proto_field_message(entry, field_of(entry, "value"), 0);
    return text_of(entry, "key", 0);
}

/* ---- building ---- */

static uint32_t read_family(struct name_table *t, const ProtobufCMessage *info, int family, const uint8_t **out)
{
    size_t bytes = family == AF_INET ? 4 : 16, given = count_of(info, "ips");
    uint8_t *all = arena_alloc(&t->arena, bytes * (given + 1));
    uint32_t count = 0;
    for (size_t i = 0; i < given; i++) {
        struct addr a = {0};
        if (addr_from_ip(&a, text_of(info, "ips", i), 0, NULL) == 0 && a.sa.sa_family == family)
            memcpy(all + bytes * count++, family == AF_INET ? (void *)&a.in4.sin_addr : (void *)&a.in6.sin6_addr, bytes);
        addr_fini(&a);
    }
    *out = all;
    return count;
}

static struct host *make_host(struct name_table *t, struct str name, const ProtobufCMessage *info)
{
    struct host *h = arena_zalloc(&t->arena, sizeof *h);
    h->v4_count = read_family(t, info, AF_INET, &h->v4);
    h->v6_count = read_family(t, info, AF_INET6, &h->v6);
    h->text = arena_str(&t->arena, name);
    h->registry = arena_str(&t->arena, text_of(info, "registry", 0));
    h->shortname = arena_str(&t->arena, text_of(info, "shortname", 0));
    h->namespace = arena_str(&t->arena, text_of(info, "namespace", 0));
    return h;
}

static void file_name(struct name_table *t, struct str text, struct host *h)
{
    struct dns_name name;
    if (dns_name_from_text(text, &name) && !map_get(t->by_name, dns_name_str(&name)))
        map_set(t->by_name, dns_name_str(&name), h);
}

static void file_own(struct name_table *t, const ProtobufCMessage *msg)
{
    for (size_t i = 0; i < count_of(msg, "table"); i++) {
        const ProtobufCMessage *info;
        struct str host = entry_of(msg, i, &info);
        struct host *h = info ? make_host(t, host, info) : NULL;
        if (h && h->v4_count + h->v6_count)
            file_name(t, h->text, h);
    }
}

/* "svc.cluster.local" of "ns.svc.cluster.local". */
static struct str without_namespace(const struct name_table_opts *o)
{
    struct str rest, first = str_split(o->domain, '.', &rest);
    return rest.n && str_eq(first, o->pod_namespace) ? rest : o->domain;
}

/* Short, short.ns, short.ns.svc: only of the pod's own cluster domain, since another's could mean anything by them. */
static void file_short(struct name_table *t, const struct name_table_opts *o, const ProtobufCMessage *info, struct host *h)
{
    struct str rest, domain = without_namespace(o), svc = str_split(domain, '.', &rest);
    struct strbuf text = {0};
    if (!domain.n || !str_has_suffix(h->text, domain))
        return;
    strbuf_addf(&text, "%.*s.%.*s", STR_ARG(h->shortname), STR_ARG(h->namespace));
    file_name(t, strbuf_str(&text), h);
    strbuf_addf(&text, ".%.*s", STR_ARG(svc));
    file_name(t, strbuf_str(&text), h);
    if (str_eq(h->namespace, o->pod_namespace))
        file_name(t, h->shortname, h);
    for (size_t i = 0; i < count_of(info, "alt_hosts"); i++)
        file_name(t, text_of(info, "alt_hosts", i), h);
    strbuf_fini(&text);
}

static struct host *find_host(const struct name_table *t, struct str text)
{
    struct dns_name name;
    return dns_name_from_text(text, &name) ? map_get(t->by_name, dns_name_str(&name)) : NULL;
}

static void file_others(struct name_table *t, const struct name_table_opts *o, const ProtobufCMessage *msg)
{
    for (size_t i = 0; i < count_of(msg, "table"); i++) {
        const ProtobufCMessage *info;
        struct str host = entry_of(msg, i, &info);
        struct host *h = info ? find_host(t, host) : NULL;
        if (h && str_eq(h->registry, STR(KUBERNETES)) && h->shortname.n)
            file_short(t, o, info, h);
    }
}

struct name_table *name_table_new(struct str packed, const struct name_table_opts *opts, struct err *err)
{
    struct proto_arena *pa = proto_arena_new(MESSAGE_MEMORY_BYTES);
    ProtobufCMessage *msg = NULL;
    struct name_table *t = NULL;
    const ProtobufCMessageDescriptor *desc = proto_type_find(str_from(resource_type_name(RESOURCE_NAME_TABLE)));
    if (proto_unpack(pa, desc, packed, &msg, err) == 0) {
        t = NEW(name_table);
        arena_init(&t->arena, 0); /* the message's limit is this one's */
        t->by_name = map_new();
        dns_name_from_text(opts->search, &t->search);
        file_own(t, msg);
        file_others(t, opts, msg);
    }
    proto_arena_free(&pa);
    return t;
}

void name_table_free(struct name_table **p)
{
    struct name_table *t = *p;
    *p = NULL;
    if (!t)
        return;
    map_free(&t->by_name);
    arena_fini(&t->arena);
    mem_free(t);
}

size_t name_table_count(const struct name_table *t)
{
    return map_count(t->by_name);
}

/* ---- asking ---- */

/* `name` without the search domain at its end. False: it has none, or is nothing but that; or, which Kubernetes' services
 * are, what is left has it too and so was no name to be completed. */
static bool without_search(const struct name_table *t, struct str name, struct dns_name *out)
{
    struct str search = dns_name_str(&t->search);
    if (!search.n || name.n <= search.n || !str_has_suffix(name, search))
        return false;
    size_t n = name.n - search.n, at = 0;
    while (at < n) /* the end of what matches may be in the middle of a label */
        at += 1u + (uint8_t)name.p[at];
    if (at != n)
        return false;
    memcpy(out->bytes, name.p, n);
    out->bytes[n] = 0;
    out->n = (uint8_t)(n + 1);
    return !str_has_suffix(dns_name_str(out), search);
}

/* The wildcard right above: "*.b.c" for "a.b.c", given "b.c". */
static const struct host *find_wildcard(const struct name_table *t, struct str above)
{
    char key[DNS_NAME_BYTES + 2];
    if (above.n <= 1 || above.n > DNS_NAME_BYTES)
        return NULL;
    memcpy(key, WILDCARD, 2);
    memcpy(key + 2, above.p, above.n);
    return map_get(t->by_name, str_make(key, above.n + 2));
}

static const struct host *find_above(const struct name_table *t, struct str name, const struct dns_name *bare, bool *is_alias)
{
    const struct host *h = NULL;
    for (size_t at = 0; !h && name.p[at];) {
        at += 1u + (uint8_t)name.p[at];
        h = find_wildcard(t, str_make(name.p + at, name.n - at));
        if (h || at >= bare->n)
            continue;
        h = find_wildcard(t, str_make((const char *)bare->bytes + at, bare->n - at));
        *is_alias = h != NULL;
    }
    return h;
}

bool name_table_find(const struct name_table *t, const struct dns_name *name, uint16_t type, struct name_answer *out)
{
    struct dns_name bare = {0};
    bool is_alias = false;
    const struct host *h = map_get(t->by_name, dns_name_str(name));
    out->alias.n = 0;
    if (!h && without_search(t, dns_name_str(name), &bare)) {
        h = map_get(t->by_name, dns_name_str(&bare));
        is_alias = h != NULL;
    }
    if (!h)
        h = find_above(t, dns_name_str(name), &bare, &is_alias);
    if (!h)
        return false;
    if (is_alias)
        out->alias = bare;
    out->addresses = type == DNS_TYPE_AAAA ? h->v6 : h->v4;
    out->count = type == DNS_TYPE_AAAA ? h->v6_count : h->v4_count;
    return true;
}

/* ---- showing ---- */

static void add_ips(struct strbuf *out, const uint8_t *all, uint32_t count, int family)
{
    for (uint32_t i = 0; i < count; i++) {
        char text[ADDR_TEXT_BYTES];
        struct addr a = {.sa.sa_family = (sa_family_t)family};
        if (family == AF_INET)
            memcpy(&a.in4.sin_addr, all + (size_t)4 * i, 4);
        else
            memcpy(&a.in6.sin6_addr, all + (size_t)16 * i, 16);
        strbuf_addz(out, out->p[out->n - 1] == '[' ? "" : ",");
        json_add_string(out, str_from(addr_ip_text(&a, text)));
    }
}

static void add_host(struct strbuf *out, struct str name, const struct host *h, bool is_own)
{
    json_add_string(out, name);
    strbuf_addz(out, ":{\"ips\":[");
    add_ips(out, h->v4, h->v4_count, AF_INET);
    add_ips(out, h->v6, h->v6_count, AF_INET6);
    json_addf(out, "],'registry':%q", h->registry);
    if (is_own && h->shortname.n)
        json_addf(out, ",'shortname':%q,'namespace':%q", h->shortname, h->namespace);
    strbuf_addc(out, '}');
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

void name_table_json(const struct name_table *t, struct strbuf *out)
{
    size_t n = map_count(t->by_name), pos = 0, i = 0;
    struct str *names = mem_zalloc((n + 1) * sizeof *names);
    void *value;
    while (map_next(t->by_name, &pos, &names[i], &value))
        i++;
    qsort(names, n, sizeof *names, by_text);
    strbuf_addz(out, "{\"table\":{");
    for (i = 0; i < n; i++) {
        const struct host *h = map_get(t->by_name, names[i]);
        struct strbuf text = {0};
        dns_name_text(names[i], &text);
        struct str shown = strbuf_str(&text), bare = str_make(shown.p, shown.n - 1);
        bool is_own = str_eq_nocase(bare, h->text) || str_eq_nocase(shown, h->text);
        strbuf_addz(out, i ? "," : "");
        add_host(out, is_own ? h->text : shown, h, is_own);
        strbuf_fini(&text);
    }
    strbuf_addz(out, "}}");
    mem_free(names);
}
