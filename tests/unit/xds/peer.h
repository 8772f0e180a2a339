/* SPDX-License-Identifier: Apache-2.0
 *
 * A client and what a test's server sees of it: requests as short lines, updates as text.
 *
 *     "cds: v=1 n=2 +a +b -c a=1 node !text"
 */
#ifndef UNIT_XDS_PEER_H
#define UNIT_XDS_PEER_H

#include "base/mem.h"
#include "xds/client.h"

#include "../unit.h"

enum { CDS, EDS, VHDS, TYPES };
static const struct xds_type peer_types[TYPES] = {
    {"envoy.config.cluster.v3.Cluster", 1, true, false},
    {"envoy.config.endpoint.v3.ClusterLoadAssignment", 1, false, false},
    {"envoy.config.route.v3.VirtualHost", 1, false, true},
};
static const char *const peer_short[TYPES] = {"cds", "eds", "vhds"};

struct peer {
    struct xds_client *client;
    struct strbuf heard;  /* updates */
    struct strbuf line;
    struct err_list faults;
    const char *refuse;   /* this name */
    const char *want_eds; /* while an update is taken */
    bool is_delta;
    uint64_t now_us;
};

static void peer_on_update(void *user, uint32_t type, const struct xds_update *u, struct err_list *faults)
{
    struct peer *p = user;
    strbuf_addf(&p->heard, "%s%s%s", p->heard.n ? "; " : "", peer_short[type], u->is_whole ? " whole" : "");
    for (uint32_t i = 0; i < u->count; i++) {
        strbuf_addf(&p->heard, " %.*s", STR_ARG(u->items[i].name));
        if (p->refuse && str_eq(u->items[i].name, str_from(p->refuse)))
            err_list_addf(faults, ERR_INVALID, p->refuse, "is refused");
    }
    for (uint32_t i = 0; i < u->removed_count; i++)
        strbuf_addf(&p->heard, " -%.*s", STR_ARG(u->removed[i]));
    if (p->want_eds)
        xds_client_want(p->client, EDS, str_from(p->want_eds));
}

static inline void peer_init(struct peer *p, bool is_delta, bool node_once)
{
    static const struct xds_client_ops ops = {.on_update = peer_on_update};
    const struct xds_client_opts opts = {
        .is_delta = is_delta, .node_on_first_message_only = node_once, .keep_node = STR("\x0a\x01n"), .keep_types = peer_types, .type_count = TYPES};
    *p = (struct peer){.is_delta = is_delta, .now_us = 1000000};
    p->client = xds_client_new(&opts, &ops, p);
}

static inline void peer_fini(struct peer *p)
{
    xds_client_free(&p->client);
    strbuf_fini(&p->heard);
    strbuf_fini(&p->line);
    err_list_fini(&p->faults);
}

/* The next request; "" none. */
static inline const char *peer_next(struct peer *p)
{
    struct strbuf packed = {0};
    struct xds_request r;
    struct arena a;
    struct err err = {0};
    strbuf_reset(&p->line);
    strbuf_addz(&p->line, "");
    if (!xds_client_next(p->client, &packed)) {
        strbuf_fini(&packed);
        return "";
    }
    arena_init(&a, 0);
    assert_int_equal(xds_request_read(&a, p->is_delta, strbuf_str(&packed), &r, &err), 0);
    for (int i = 0; i < TYPES; i++)
        if (str_has_suffix(r.type_url, str_from(peer_types[i].name)))
            strbuf_addf(&p->line, "%s:", peer_short[i]);
    if (r.version.n)
        strbuf_addf(&p->line, " v=%.*s", STR_ARG(r.version));
    if (r.nonce.n)
        strbuf_addf(&p->line, " n=%.*s", STR_ARG(r.nonce));
    for (uint32_t i = 0; i < r.name_count; i++)
        strbuf_addf(&p->line, " +%.*s", STR_ARG(r.names[i]));
    for (uint32_t i = 0; i < r.unsubscribed_count; i++)
        strbuf_addf(&p->line, " -%.*s", STR_ARG(r.unsubscribed[i]));
    for (uint32_t i = 0; i < r.initial_count; i++)
        strbuf_addf(&p->line, " %.*s=%.*s", STR_ARG(r.initial_versions[i].name), STR_ARG(r.initial_versions[i].version));
    if (r.has_node)
        strbuf_addz(&p->line, " node");
    if (r.has_error)
        strbuf_addf(&p->line, " !%.*s", STR_ARG(r.error_message));
    arena_fini(&a);
    strbuf_fini(&packed);
    return p->line.p;
}

/* Resources by name, one letter after another; upper case ones are removed (delta). `ttl_us` of 0: none; a heartbeat has no
 * content. */
struct peer_response {
    int type;
    const char *version, *nonce, *names;
    uint64_t ttl_us;
    bool is_heartbeat;
};

static inline enum xds_fed peer_feed(struct peer *p, struct peer_response in)
{
    struct xds_resource items[16] = {0};
    struct str removed[16];
    char url[128], bodies[16][3], names[16];
    struct xds_response r = {.is_delta = p->is_delta, .version = str_from(in.version), .nonce = str_from(in.nonce), .resources = items, .removed = removed};
    snprintf(url, sizeof url, "type.googleapis.com/%s", peer_types[in.type].name);
    r.type_url = str_from(url);
    for (uint32_t i = 0; in.names[i]; i++) {
        names[i] = (char)(in.names[i] | 0x20);
        if (in.names[i] < 'a') {
            removed[r.removed_count++] = str_make(&names[i], 1);
            continue;
        }
        struct xds_resource *one = &items[r.resource_count++];
        memcpy(bodies[i], (char[]){0x0a, 1, in.names[i]}, 3);
        one->has_body = !in.is_heartbeat;
        one->type_url = r.type_url;
        one->packed = str_make(bodies[i], 3);
        one->has_ttl = in.ttl_us > 0;
        one->ttl_us = in.ttl_us;
        if (p->is_delta || in.is_heartbeat)
            one->name = str_make(&names[i], 1), one->version = r.version;
    }
    struct strbuf packed = {0};
    xds_response_write(&r, &packed);
    strbuf_reset(&p->heard);
    strbuf_addz(&p->heard, "");
    enum xds_fed fed = xds_client_feed(p->client, strbuf_str(&packed), p->now_us, &p->faults);
    strbuf_fini(&packed);
    return fed;
}
#define FEED(p, t, v, n, which, ...)                                                               \
    peer_feed(p, (struct peer_response){.type = t, .version = v, .nonce = n, .names = which, ##__VA_ARGS__})

#endif
