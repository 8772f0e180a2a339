/* SPDX-License-Identifier: Apache-2.0
 *
 * A table of probes by path, read once; asking is fetch.c's. The application is asked at the pod's own address from 127.0.0.6
 * (::6), which capture rules leave alone, with the kubelet's headers and the probe's own over them. Main loop. A probe of no
 * kind, or of two, is refused, and so is a field that asking doesn't heed.
 */
#include "proxy/agent/probes.h"

#include "base/mem.h"
#include "proto/json.h"

#include <stdio.h>

#define PROBE_BODY_BYTES ((size_t)10 << 10)
#define PROBE_ARENA_BYTES ((size_t)64 << 10)
#define SERVICE_BYTES 100 /* a length of one byte in protobuf */

enum probe_kind { PROBE_NONE, PROBE_HTTP, PROBE_TCP, PROBE_GRPC };
struct probe {
    struct str path;                 /* of ours */
    enum probe_kind kind;
    bool is_tls;
    uint64_t timeout_ms;
    struct addr to;
    struct str target, host, service;
    struct text_pair *headers;
    size_t header_count;
};
struct probes {
    struct arena arena;
    struct probe *items;
    size_t count;
    struct addr source4, source6;
};

struct probes_reading {
    struct probes *p;
    const struct agent_env *env;
    struct err_list *faults;
};

/* ---- reading ---- */

static void fault(struct probes_reading *r, const struct probe *p, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "ISTIO_KUBE_APP_PROBERS.%.*s", (int)(p->path.n < 200 ? p->path.n : 200), p->path.p);
    err_list_addf(r->faults, ERR_INVALID, path, "%s", text);
}

static const struct doc_node *member(const struct doc_node *map, const char *name)
{
    for (const struct doc_node *n = map && map->kind == DOC_MAP ? map->first : NULL; n; n = n->next)
        if (str_eq(n->key, str_from(name)))
            return n;
    return NULL;
}

static struct str text_of(struct probes_reading *r, const struct doc_node *map, const char *name)
{
    const struct doc_node *n = member(map, name);
    return n && (n->kind == DOC_STRING || n->kind == DOC_NUMBER) ? arena_str(&r->p->arena, n->text) : STR("");
}

/* `names`: null at the end. */
static void refuse_others(struct probes_reading *r, const struct probe *p, const struct doc_node *map, const char *const *names)
{
    for (const struct doc_node *n = map && map->kind == DOC_MAP ? map->first : NULL; n; n = n->next) {
        const char *const *known = names;
        while (*known && !str_eq(n->key, str_from(*known)))
            known++;
        if (!*known) {
            char text[128];
            snprintf(text, sizeof text, "'%.*s' is not supported", (int)(n->key.n < 64 ? n->key.n : 64), n->key.p);
            fault(r, p, text);
        }
    }
}

/* Injection has resolved names of ports. */
static void read_port(struct probes_reading *r, struct probe *p, const struct doc_node *map)
{
    uint64_t port = 0;
    struct err err = {0};
    if (!str_to_u64(text_of(r, map, "port"), &port) || port == 0 || port > UINT16_MAX)
        fault(r, p, "its port is no number from 1 to 65535");
    else if (addr_from_ip(&p->to, r->env->ips.items[0], (uint16_t)port, &err) < 0)
        fault(r, p, err.message);
}

static void read_headers(struct probes_reading *r, struct probe *p, const struct doc_node *list)
{
    size_t count = 0;
    for (const struct doc_node *n = list && list->kind == DOC_LIST ? list->first : NULL; n; n = n->next)
        count++;
    p->headers = count ? arena_zalloc(&r->p->arena, count * sizeof *p->headers) : NULL;
    for (const struct doc_node *n = count ? list->first : NULL; n && p->headers; n = n->next) {
        struct str name = text_of(r, n, "name");
        if (str_eq_nocase(name, STR("host")))
            p->host = text_of(r, n, "value");
        else if (name.n)
            p->headers[p->header_count++] = (struct text_pair){name, text_of(r, n, "value")};
    }
}

static void read_http(struct probes_reading *r, struct probe *p, const struct doc_node *http)
{
    static const char *const names[] = {"path", "port", "scheme", "httpHeaders", NULL};
    refuse_others(r, p, http, names);
    struct str path = text_of(r, http, "path");
    p->kind = PROBE_HTTP;
    p->is_tls = str_eq_nocase(text_of(r, http, "scheme"), STR("https"));
    p->target = path.n && path.p[0] == '/' ? path : arena_printf(&r->p->arena, "/%.*s", STR_ARG(path));
    read_headers(r, p, member(http, "httpHeaders"));
    read_port(r, p, http);
}

static void read_probe(struct probes_reading *r, struct probe *p, const struct doc_node *n)
{
    const struct doc_node *http = member(n, "httpGet"), *tcp = member(n, "tcpSocket"), *grpc = member(n, "grpc");
    static const char *const names[] = {"httpGet", "tcpSocket", "grpc", "timeoutSeconds", NULL};
    static const char *const socket_names[] = {"port", NULL};
    static const char *const call_names[] = {"port", "service", NULL};
    uint64_t seconds = 0;
    p->path = arena_str(&r->p->arena, n->key);
    refuse_others(r, p, n, names);
    str_to_u64(text_of(r, n, "timeoutSeconds"), &seconds);
    p->timeout_ms = (seconds && seconds < 86400 ? seconds : 1) * 1000; /* Kubernetes' default */
    if (!!http + !!tcp + !!grpc != 1) {
        fault(r, p, "has to be one of httpGet, tcpSocket, grpc");
    } else if (http) {
        read_http(r, p, http);
    } else {
        p->kind = tcp ? PROBE_TCP : PROBE_GRPC;
        refuse_others(r, p, tcp ? tcp : grpc, tcp ? socket_names : call_names);
        p->service = text_of(r, grpc, "service");
        if (p->service.n > SERVICE_BYTES)
            fault(r, p, "its service's name is longer than 100 bytes");
        read_port(r, p, tcp ? tcp : grpc);
    }
}

struct probes *probes_new(const struct agent_env *e, struct err_list *faults)
{
    struct probes *p = NEW(probes);
    struct probes_reading r = {p, e, faults};
    struct err err = {0};
    arena_init(&p->arena, (size_t)1 << 20);
    addr_from_ip(&p->source4, STR("127.0.0.6"), 0, &err);
    addr_from_ip(&p->source6, STR("::6"), 0, &err);
    if (!e->app_probers.n)
        return p;
    struct proto_arena *pa = proto_arena_new(0);
    const struct doc_node *root = json_read(pa, e->app_probers, "ISTIO_KUBE_APP_PROBERS", faults);
    if (root && root->kind != DOC_MAP)
        err_list_addf(faults, ERR_INVALID, "ISTIO_KUBE_APP_PROBERS", "is no JSON object");
    for (const struct doc_node *n = root && root->kind == DOC_MAP ? root->first : NULL; n; n = n->next)
        p->count++;
    p->items = p->count ? mem_zalloc(p->count * sizeof *p->items) : NULL;
    struct probe *at = p->items;
    for (const struct doc_node *n = p->count ? root->first : NULL; n; n = n->next)
        read_probe(&r, at++, n);
    proto_arena_free(&pa);
    return p;
}

void probes_free(struct probes **pp)
{
    struct probes *p = *pp;
    *pp = NULL;
    if (!p)
        return;
    for (size_t i = 0; i < p->count; i++)
        addr_fini(&p->items[i].to);
    mem_free(p->items);
    arena_fini(&p->arena);
    mem_free(p);
}

static const struct probe *find(const struct probes *p, struct str path)
{
    for (size_t i = 0; i < p->count; i++)
        if (str_eq(p->items[i].path, path))
            return &p->items[i];
    return NULL;
}

/* ---- asking ---- */

static void add_head(const struct probe *p, struct headers *h, struct arena *a)
{
    char text[ADDR_TEXT_BYTES];
    bool grpc = p->kind == PROBE_GRPC;
    headers_init(h, a);
    headers_add(h, STR(":method"), grpc ? STR("POST") : STR("GET"));
    headers_add(h, STR(":scheme"), p->is_tls ? STR("https") : STR("http"));
    headers_add(h, STR(":path"), grpc ? STR("/grpc.health.v1.Health/Check") : p->target);
    headers_add(h, STR(":authority"), p->host.n ? p->host : str_from(addr_text(&p->to, text)));
    if (grpc) {
        headers_add(h, STR("te"), STR("trailers"));
        headers_add(h, STR("content-type"), STR("application/grpc"));
    }
}

/* The kubelet's own (user-agent and such), then the probe's over them; one connection a probe. */
static void add_fields(const struct probe *p, struct headers *h, const struct headers *request)
{
    for (uint32_t i = 0; i < request->count; i++) {
        const struct header *f = &request->items[i];
        if (f->name.p[0] != ':' && f->id != HDR_HOST && f->id != HDR_CONNECTION && f->id != HDR_CONTENT_LENGTH &&
            f->id != HDR_TRANSFER_ENCODING && f->id != HDR_UPGRADE && f->id != HDR_EXPECT)
            headers_add(h, f->name, f->value);
    }
    for (size_t i = 0; i < p->header_count; i++) {
        char name[256];
        size_t n = p->headers[i].key.n < sizeof name ? p->headers[i].key.n : 0;
        for (size_t k = 0; k < n; k++)
            name[k] = ascii_lower(p->headers[i].key.p[k]);
        if (n)
            headers_set(h, str_make(name, n), p->headers[i].value);
    }
    headers_set_id(h, HDR_CONNECTION, STR("close"));
}

/* HealthCheckRequest{service = 1} in gRPC's framing. */
static struct str grpc_body(const struct probe *p, uint8_t out[128])
{
    size_t n = p->service.n;
    memset(out, 0, 5);
    if (!n)
        return str_make((char *)out, 5);
    out[4] = (uint8_t)(n + 2);
    out[5] = 0x0a, out[6] = (uint8_t)n;
    memcpy(out + 7, p->service.p, n);
    return str_make((char *)out, n + 7);
}

struct fetch *probes_ask(const struct probes *all, struct str path, const struct headers *request, struct loop *loop,
                         fetch_fn fn, void *user)
{
    const struct probe *p = find(all, path);
    struct arena arena;
    struct headers h;
    uint8_t body[128];
    if (!p)
        return NULL;
    arena_init(&arena, PROBE_ARENA_BYTES);
    add_head(p, &h, &arena);
    if (p->kind == PROBE_HTTP)
        add_fields(p, &h, request);
    struct fetch_opts o = {.to = &p->to, .source = p->to.sa.sa_family == AF_INET6 ? &all->source6 : &all->source4,
                           .connect_only = p->kind == PROBE_TCP, .is_tls = p->is_tls, .is_h2 = p->kind == PROBE_GRPC,
                           .request = &h, .timeout_ms = p->timeout_ms, .limit_bytes = PROBE_BODY_BYTES, .cut_at_limit = true};
    if (p->kind == PROBE_GRPC)
        o.body = grpc_body(p, body);
    struct fetch *f = fetch_start(loop, &o, fn, user);
    arena_fini(&arena);
    return f;
}

/* HealthCheckResponse{status = 1: SERVING} and grpc-status 0. */
static bool is_serving(const struct fetch_answer *a)
{
    const struct headers *end = a->trailers ? a->trailers : a->headers;
    return a->status == 200 && str_eq(headers_get_id(end, HDR_GRPC_STATUS), STR("0")) && a->body.n == 7 &&
           memcmp(a->body.p, "\0\0\0\0\2\x08\1", 7) == 0;
}

unsigned probes_status(const struct probes *all, struct str path, const struct fetch_answer *a)
{
    const struct probe *p = find(all, path);
    if (!p || a->failure)
        return 500;
    if (p->kind == PROBE_TCP)
        return 200;
    if (p->kind == PROBE_GRPC)
        return is_serving(a) ? 200 : 500;
    return a->status >= 300 && a->status < 400 ? 200 : a->status; /* where it leads to isn't the pod's health */
}
