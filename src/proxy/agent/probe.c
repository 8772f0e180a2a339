/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads a probe and asks it; asking is fetch.c's and command.c's. The application is asked at the pod's own address from
 * 127.0.0.6 (::6), which capture rules leave alone, with the probe's own headers over those that are passed on. Main loop. A
 * probe of no kind, or of two, is refused, and so is a field that asking doesn't heed.
 */
#include "proxy/agent/probe.h"

#include <stdio.h>

#define PROBE_BODY_BYTES ((size_t)10 << 10)
#define PROBE_ARENA_BYTES ((size_t)64 << 10)
#define SERVICE_BYTES 100 /* a length of one byte in protobuf */
#define NUMBER_MAX INT32_MAX

/* ---- reading ---- */

static void fault(const struct probe_reading *r, const char *text)
{
    err_list_addf(r->faults, ERR_INVALID, r->path, "%s", text);
}

static struct str text_of(const struct probe_reading *r, const struct doc_node *map, const char *name)
{
    const struct doc_node *n = json_member(map, name);
    return n && (n->kind == DOC_STRING || n->kind == DOC_NUMBER) ? arena_str(r->a, n->text) : STR("");
}

/* `names`: null at the end. */
static bool is_among(struct str key, const char *const *names)
{
    for (; names && *names; names++)
        if (json_is_name(key, *names))
            return true;
    return false;
}

static void refuse_others(const struct probe_reading *r, const struct doc_node *map, const char *const *names,
                          const char *const *more)
{
    for (const struct doc_node *n = map && map->kind == DOC_MAP ? map->first : NULL; n; n = n->next) {
        char text[128];
        if (is_among(n->key, names) || is_among(n->key, more))
            continue;
        snprintf(text, sizeof text, "'%.*s' is not supported", (int)(n->key.n < 64 ? n->key.n : 64), n->key.p);
        fault(r, text);
    }
}

uint64_t probe_read_number(struct probe_reading *r, const struct doc_node *node, const char *field)
{
    uint64_t number = 0;
    if (json_member(node, field) && (!str_to_u64(text_of(r, node, field), &number) || number > NUMBER_MAX)) {
        char text[128];
        snprintf(text, sizeof text, "its %s is no number from 0 to %d", field, NUMBER_MAX);
        fault(r, text);
    }
    return number <= NUMBER_MAX ? number : 0;
}

/* Injection has resolved names of ports. Names of hosts aren't looked up: what is asked runs beside us. */
static void read_address(const struct probe_reading *r, struct probe *p, const struct doc_node *map)
{
    uint64_t port = 0;
    struct err err = {0};
    struct str host = r->takes_host ? text_of(r, map, "host") : STR("");
    if (!host.n)
        host = r->env->ips.items[0];
    else if (str_eq(host, STR("localhost")))
        host = STR("127.0.0.1");
    if (!str_to_u64(text_of(r, map, "port"), &port) || port == 0 || port > UINT16_MAX)
        fault(r, "its port is no number from 1 to 65535");
    else if (addr_from_ip(&p->to, host, (uint16_t)port, &err) < 0)
        fault(r, err.message);
}

static void read_headers(const struct probe_reading *r, struct probe *p, const struct doc_node *list)
{
    size_t count = 0;
    for (const struct doc_node *n = list && list->kind == DOC_LIST ? list->first : NULL; n; n = n->next)
        count++;
    p->headers = count ? arena_zalloc(r->a, count * sizeof *p->headers) : NULL;
    for (const struct doc_node *n = count ? list->first : NULL; n && p->headers; n = n->next) {
        struct str name = text_of(r, n, "name");
        if (str_eq_nocase(name, STR("host")))
            p->host = text_of(r, n, "value");
        else if (name.n)
            p->headers[p->header_count++] = (struct text_pair){name, text_of(r, n, "value")};
    }
}

static void read_http(const struct probe_reading *r, struct probe *p, const struct doc_node *http)
{
    static const char *const names[] = {"path", "port", "scheme", "httpHeaders", NULL}, *const host[] = {"host", NULL};
    struct str path = text_of(r, http, "path"), scheme = text_of(r, http, "scheme");
    refuse_others(r, http, names, r->takes_host ? host : NULL);
    p->is_tls = str_eq_nocase(scheme, STR("https"));
    if (scheme.n && !p->is_tls && !str_eq_nocase(scheme, STR("http")))
        fault(r, "its scheme is neither HTTP nor HTTPS");
    p->target = path.n && path.p[0] == '/' ? path : arena_printf(r->a, "/%.*s", STR_ARG(path));
    read_headers(r, p, json_member(http, "httpHeaders"));
    read_address(r, p, http);
}

static void read_tcp(const struct probe_reading *r, struct probe *p, const struct doc_node *tcp)
{
    static const char *const names[] = {"port", NULL}, *const host[] = {"host", NULL};
    refuse_others(r, tcp, names, r->takes_host ? host : NULL);
    read_address(r, p, tcp);
}

static void read_grpc(const struct probe_reading *r, struct probe *p, const struct doc_node *grpc)
{
    static const char *const names[] = {"port", "service", NULL};
    refuse_others(r, grpc, names, NULL);
    p->service = text_of(r, grpc, "service");
    if (p->service.n > SERVICE_BYTES)
        fault(r, "its service's name is longer than 100 bytes");
    read_address(r, p, grpc);
}

static void read_exec(const struct probe_reading *r, struct probe *p, const struct doc_node *exec)
{
    static const char *const names[] = {"command", NULL};
    const struct doc_node *list = json_member(exec, "command");
    size_t count = 0;
    refuse_others(r, exec, names, NULL);
    for (const struct doc_node *n = list && list->kind == DOC_LIST ? list->first : NULL; n; n = n->next)
        count++;
    p->command = count ? arena_zalloc(r->a, count * sizeof *p->command) : NULL;
    for (const struct doc_node *n = count ? list->first : NULL; n; n = n->next) {
        struct str text = n->kind == DOC_STRING || n->kind == DOC_NUMBER ? n->text : STR("");
        if (memchr(text.p, '\0', text.n))
            fault(r, "its command holds a NUL");
        p->command[p->command_count++] = arena_printf(r->a, "%.*s", STR_ARG(text));
    }
    if (!count || !p->command[0].n)
        fault(r, "its command names no program");
}

static const struct kind {
    const char *name;
    enum probe_kind kind;
    void (*read)(const struct probe_reading *r, struct probe *p, const struct doc_node *node);
} kinds[] = {
    {"httpGet", PROBE_HTTP, read_http}, {"tcpSocket", PROBE_TCP, read_tcp}, {"grpc", PROBE_GRPC, read_grpc},
    {"exec", PROBE_EXEC, read_exec},
};

void probe_read(struct probe *out, struct probe_reading *r, const struct doc_node *node)
{
    static const char *const names[] = {"httpGet", "tcpSocket", "grpc", "exec", "timeoutSeconds", NULL};
    const struct kind *kind = NULL;
    unsigned count = 0;
    *out = (struct probe){0};
    refuse_others(r, node, names, r->fields);
    if (!r->takes_exec && json_member(node, "exec"))
        fault(r, "'exec' is not supported");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (!json_member(node, kinds[i].name) || (kinds[i].kind == PROBE_EXEC && !r->takes_exec))
            continue;
        kind = &kinds[i];
        count++;
    }
    uint64_t seconds = probe_read_number(r, node, "timeoutSeconds");
    out->timeout_ms = (seconds ? seconds : 1) * 1000; /* Kubernetes' default */
    if (!kind || count != 1) {
        fault(r, r->takes_exec ? "has to be one of httpGet, tcpSocket, grpc, exec" : "has to be one of httpGet, tcpSocket, grpc");
        return;
    }
    out->kind = kind->kind;
    kind->read(r, out, json_member(node, kind->name));
}

void probe_fini(struct probe *p)
{
    addr_fini(&p->to);
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
    for (uint32_t i = 0; request && i < request->count; i++) {
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

static const struct addr *source_of(const struct probe *p, struct addr *out)
{
    struct err err = {0};
    bool is_v6 = p->to.sa.sa_family == AF_INET6;
    return addr_from_ip(out, is_v6 ? STR("::6") : STR("127.0.0.6"), 0, &err) == 0 ? out : NULL;
}

struct fetch *probe_ask(const struct probe *p, const struct headers *request, struct loop *loop, fetch_fn fn, void *user)
{
    struct arena arena;
    struct headers h;
    struct addr source = {0};
    uint8_t body[128];
    arena_init(&arena, PROBE_ARENA_BYTES);
    add_head(p, &h, &arena);
    if (p->kind == PROBE_HTTP)
        add_fields(p, &h, request);
    struct fetch_opts o = {.to = &p->to, .source = source_of(p, &source), .connect_only = p->kind == PROBE_TCP, .is_tls = p->is_tls,
                           .is_h2 = p->kind == PROBE_GRPC, .request = &h, .timeout_ms = p->timeout_ms,
                           .limit_bytes = PROBE_BODY_BYTES, .cut_at_limit = true};
    if (p->kind == PROBE_GRPC)
        o.body = grpc_body(p, body);
    struct fetch *f = fetch_start(loop, &o, fn, user);
    addr_fini(&source);
    arena_fini(&arena);
    return f;
}

struct command *probe_run(const struct probe *p, struct loop *loop, command_fn fn, void *user)
{
    return command_start(loop, p->command, p->command_count, p->timeout_ms, fn, user);
}

/* HealthCheckResponse{status = 1: SERVING} and grpc-status 0. */
bool probe_is_serving(const struct fetch_answer *a)
{
    const struct headers *end = a->trailers ? a->trailers : a->headers;
    return a->status == 200 && str_eq(headers_get_id(end, HDR_GRPC_STATUS), STR("0")) && a->body.n == 7 &&
           memcmp(a->body.p, "\0\0\0\0\2\x08\1", 7) == 0;
}
