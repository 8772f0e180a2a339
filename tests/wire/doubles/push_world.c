/* SPDX-License-Identifier: Apache-2.0
 *
 * A control plane that knows nothing: gRPC server and push with whatever a test puts into it by lines on standard input, or with a
 * world of services made up for measurements (../shared/bench/xdsload's, as far as that looks). Part 0 of a type is everybody's, part 1
 * that of the proxy with a node id.
 *
 *     put TYPE ID|- NAME BASE64     drop TYPE ID|- NAME     load     changed full|endpoints
 *     world SERVICES ENDPOINTS      eds K ADDRESS           route MARK
 *     syncz  metrics  counters      touch ID TYPE           drain          quit
 *
 * It says "port N", "open ID", "close ID", "ack TYPE ID", "nack TYPE ID MESSAGE", "other TYPE", and answers questions in one line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "control/push/push.h"
#include "io/listen.h"
#include "proto/wire.h"

struct client { struct str id; struct push_proxy *proxy; };
struct parts { struct xds_set *sets[PUSH_TYPE_COUNT]; };
struct world {
    struct push_source source;
    struct loop *loop;
    struct push *push;
    struct grpc_server *grpc;
    struct parts shared, next_shared; /* next: as put, before the push's refresh */
    struct map *own, *clients;        /* by node id */
    struct watch input;
    struct strbuf line;
    uint32_t services, endpoints;
};

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
}

/* ---- the source ---- */

static int source_open(struct push_source *s, const struct push_peer *peer, struct str node, void **client, struct push_refusal *why)
{
    struct world *w = CONTAINER_OF(s, world, source);
    struct wire_reader r = wire_read(node);
    struct client *c = NEW(client);
    for (struct wire_field f; wire_next(&r, &f);)
        if (f.number == 1 && f.type == 2)
            c->id = str_dup(f.bytes);
    if (!c->id.p || str_eq(c->id, STR("stranger"))) {
        why->status = GRPC_UNAUTHENTICATED;
        err_set(&why->err, ERR_INVALID, "nobody knows \"%.*s\"", STR_ARG(c->id));
        str_free(&c->id);
        mem_free(c);
        return ERR_INVALID;
    }
    c->proxy = peer->proxy;
    map_set(w->clients, c->id, c);
    *client = c;
    say("open %s", c->id.p);
    return 0;
}

static void source_close(struct push_source *s, void *client)
{
    struct world *w = CONTAINER_OF(s, world, source);
    struct client *c = client;
    say("close %s", c->id.p);
    if (map_get(w->clients, c->id) == c)
        map_del(w->clients, c->id);
    str_free(&c->id);
    mem_free(c);
}

static void source_about(struct push_source *s, const void *client, struct push_about *out)
{
    const struct client *c = client;
    (void)s;
    *out = (struct push_about){.id = c->id, .type = STR("sidecar"), .cluster_id = STR("Kubernetes"), .version = STR("1.31.0")};
}

static uint32_t source_parts(struct push_source *s, void *client, enum push_type type, const struct xds_names *names, struct xds_set *out[XDS_PARTS_MAX])
{
    struct world *w = CONTAINER_OF(s, world, source);
    struct client *c = client;
    struct parts *own = map_get(w->own, c->id);
    (void)names;
    out[0] = w->shared.sets[type];
    out[1] = own ? own->sets[type] : NULL;
    return own ? 2 : 1;
}

static uint32_t source_refresh(struct push_source *s, unsigned kinds)
{
    struct world *w = CONTAINER_OF(s, world, source);
    uint32_t types = 0;
    for (int t = 0; t < PUSH_TYPE_COUNT; t++) {
        if (kinds == PUSH_ENDPOINTS && t != PUSH_EDS)
            continue;
        types |= 1u << t;
        xds_set_unref(&w->shared.sets[t]);
        w->shared.sets[t] = w->next_shared.sets[t] ? xds_set_ref(w->next_shared.sets[t]) : NULL;
    }
    return types;
}

static void source_on_answer(struct push_source *s, void *client, enum push_type type, const struct xds_answer *a)
{
    struct world *w = CONTAINER_OF(s, world, source);
    const struct client *c = client;
    if (!a->is_ack)
        say("nack %s %s %.*s", push_type_text(type), c->id.p, STR_ARG(a->message));
    else if (!w->services)
        say("ack %s %s", push_type_text(type), c->id.p);
}

static void source_on_other(struct push_source *s, void *client, const struct xds_request *r)
{
    (void)s, (void)client;
    say("other %.*s", STR_ARG(r->type_url));
}

static const struct push_source_ops source_ops = {.open = source_open, .close = source_close, .about = source_about, .parts = source_parts,
                                                  .refresh = source_refresh, .on_answer = source_on_answer, .on_other = source_on_other};

/* ---- a world made up ---- */

static void add_padding(struct strbuf *out, unsigned field, size_t n)
{
    char text[1024];
    memset(text, 'x', sizeof text);
    wire_bytes(out, field, text, n);
}

static struct str cluster_name(uint32_t k, char *out, size_t n)
{
    return str_make(out, (size_t)snprintf(out, n, "outbound|80||svc-%u.load-%u.svc.cluster.local", k, k % 10));
}

/* type EDS, eds_config.ads */
static void make_cluster(struct strbuf *out, struct str name)
{
    strbuf_reset(out);
    wire_bytes(out, 1, name.p, name.n);
    wire_uint(out, 2, 3);
    size_t eds = wire_open(out, 3), source = wire_open(out, 1);
    wire_bytes(out, 3, "", 0);
    wire_close(out, source);
    wire_close(out, eds);
    add_padding(out, 28, 950);
}

static void make_assignment(const struct world *w, struct strbuf *out, struct str name, uint32_t k, struct str first)
{
    char address[32];
    strbuf_reset(out);
    wire_bytes(out, 1, name.p, name.n);
    size_t locality = wire_open(out, 2);
    for (uint32_t e = 0; e < w->endpoints; e++) {
        uint32_t ip = 0x0a800000 + k * w->endpoints + e + 1;
        snprintf(address, sizeof address, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255);
        struct str text = e == 0 && first.n ? first : str_from(address);
        size_t lb = wire_open(out, 2), endpoint = wire_open(out, 1), a = wire_open(out, 1), socket = wire_open(out, 1);
        wire_bytes(out, 2, text.p, text.n);
        wire_uint(out, 3, 8080);
        wire_close(out, socket);
        wire_close(out, a);
        add_padding(out, 3, 120);
        wire_close(out, endpoint);
        wire_close(out, lb);
    }
    wire_close(out, locality);
}

/* A connection manager with its routes by ADS under the name "80" */
static void make_listener(struct strbuf *out)
{
    static const char url[] = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    strbuf_reset(out);
    wire_bytes(out, 1, "outbound", 8);
    size_t chain = wire_open(out, 3), filter = wire_open(out, 3), any = wire_open(out, 4);
    wire_bytes(out, 1, url, sizeof url - 1);
    size_t hcm = wire_open(out, 2);
    wire_bytes(out, 2, "outbound", 8);
    size_t rds = wire_open(out, 3), source = wire_open(out, 1);
    wire_bytes(out, 3, "", 0);
    wire_close(out, source);
    wire_bytes(out, 2, "80", 2);
    wire_close(out, rds);
    wire_close(out, hcm);
    wire_close(out, any);
    wire_close(out, filter);
    wire_close(out, chain);
}

static void make_routes(const struct world *w, struct strbuf *out, struct str mark)
{
    char name[128];
    strbuf_reset(out);
    wire_bytes(out, 1, "80", 2);
    for (uint32_t k = 0; k < w->services; k++) {
        struct str cluster = cluster_name(k, name, sizeof name);
        size_t host = wire_open(out, 2);
        wire_bytes(out, 1, k ? cluster.p : mark.p, k ? cluster.n : mark.n);
        add_padding(out, 2, 350);
        wire_close(out, host);
    }
}

static void set_next(struct world *w, enum push_type type, struct xds_set *take_set)
{
    xds_set_unref(&w->next_shared.sets[type]);
    w->next_shared.sets[type] = take_set;
}

static void set_one(struct world *w, enum push_type type, struct str name, const struct strbuf *packed)
{
    struct xds_set_builder *b = xds_set_begin(push_pool(w->push), push_type_name(type), w->next_shared.sets[type]);
    xds_set_put(b, name, strbuf_str(packed));
    set_next(w, type, xds_set_end(&b));
}

static void make_world(struct world *w)
{
    struct strbuf packed = {0};
    char text[128];
    struct xds_pool *pool = push_pool(w->push);
    struct xds_set_builder *cds = xds_set_begin(pool, push_type_name(PUSH_CDS), NULL), *eds = xds_set_begin(pool, push_type_name(PUSH_EDS), NULL);
    for (uint32_t k = 0; k < w->services; k++) {
        struct str name = cluster_name(k, text, sizeof text);
        make_cluster(&packed, name);
        xds_set_put(cds, name, strbuf_str(&packed));
        make_assignment(w, &packed, name, k, STR(""));
        xds_set_put(eds, name, strbuf_str(&packed));
    }
    set_next(w, PUSH_CDS, xds_set_end(&cds));
    set_next(w, PUSH_EDS, xds_set_end(&eds));
    make_listener(&packed);
    set_one(w, PUSH_LDS, STR("outbound"), &packed);
    make_routes(w, &packed, STR("mark"));
    set_one(w, PUSH_RDS, STR("80"), &packed);
    strbuf_fini(&packed);
    source_refresh(&w->source, PUSH_FULL);
}

/* ---- methods for tests of gRPC itself ---- */

struct call { uint64_t count, size; size_t most; };

static void *on_call(void *owner, struct grpc_stream *s)
{
    struct str path = grpc_stream_path(s);
    (void)owner;
    if (str_eq(path, STR("/test.Echo/Refuse"))) {
        grpc_stream_end(s, GRPC_PERMISSION_DENIED, STR("not you: 100 % sure"));
        return NULL;
    }
    say("call %.*s", STR_ARG(path));
    return NEW(call);
}

static void echo(void *call, struct grpc_stream *s, struct str message)
{
    (void)call;
    grpc_stream_send_bytes(s, message);
}

static void tell_metadata(void *call, struct grpc_stream *s, struct str message)
{
    (void)call, (void)message;
    struct strbuf out = {0};
    strbuf_adds(&out, grpc_stream_metadata(s, STR("authorization")));
    strbuf_addc(&out, ' ');
    strbuf_adds(&out, grpc_stream_metadata(s, STR("clusterid")));
    grpc_stream_send_bytes(s, strbuf_str(&out));
    strbuf_fini(&out);
}

/* "COUNT SIZE": as many messages as that, as room allows; then how much waited at most. */
static void send_some(struct call *c, struct grpc_stream *s)
{
    char text[32];
    char *bytes = mem_zalloc(c->size + 1);
    while (c->count && grpc_stream_can_write(s)) {
        grpc_stream_send_bytes(s, str_make(bytes, c->size));
        c->most = c->most > grpc_stream_queued(s) ? c->most : grpc_stream_queued(s);
        c->count--;
    }
    mem_free(bytes);
    if (!c->count) {
        grpc_stream_send_bytes(s, str_make(text, (size_t)snprintf(text, sizeof text, "%zu", c->most)));
        grpc_stream_end(s, GRPC_OK, STR(""));
    }
}

static void many(void *call, struct grpc_stream *s, struct str message)
{
    struct call *c = call;
    struct str rest, head = str_split(message, ' ', &rest);
    if (!str_to_u64(head, &c->count) || !str_to_u64(rest, &c->size) || c->size > 1 << 20)
        grpc_stream_end(s, GRPC_INVALID_ARGUMENT, STR("COUNT SIZE"));
    else
        send_some(c, s);
}

static void more(void *call, struct grpc_stream *s)
{
    send_some(call, s);
}

static void ignore(void *call, struct grpc_stream *s, struct str message)
{
    (void)call, (void)s, (void)message;
}

static void wait_on(void *call, struct grpc_stream *s)
{
    (void)call, (void)s;
}

static void on_call_closed(void *call, struct grpc_stream *s)
{
    say("done %.*s", STR_ARG(grpc_stream_path(s)));
    mem_free(call);
}

static void add_methods(struct grpc_server *g)
{
    static const struct grpc_method_ops echoes = {.on_call = on_call, .on_message = echo, .on_closed = on_call_closed},
                                        metadata = {.on_call = on_call, .on_message = tell_metadata, .on_closed = on_call_closed},
                                        manies = {.on_call = on_call, .on_message = many, .on_half_close = wait_on, .on_writable = more, .on_closed = on_call_closed},
                                        hangs = {.on_call = on_call, .on_message = ignore, .on_half_close = wait_on, .on_closed = on_call_closed};
    grpc_server_add(g, "/test.Echo/Echo", &echoes, NULL);
    grpc_server_add(g, "/test.Echo/Refuse", &echoes, NULL);
    grpc_server_add(g, "/test.Echo/Metadata", &metadata, NULL);
    grpc_server_add(g, "/test.Echo/Many", &manies, NULL);
    grpc_server_add(g, "/test.Echo/Hang", &hangs, NULL);
}

/* ---- commands ---- */

static int type_of(struct str text)
{
    for (int t = 0; t < PUSH_TYPE_COUNT; t++)
        if (str_eq(text, str_from(push_type_text(t))))
            return t;
    fprintf(stderr, "no type \"%.*s\"\n", STR_ARG(text));
    exit(2);
}

static struct xds_set **slot(struct world *w, struct str id, int type)
{
    if (str_eq(id, STR("-")))
        return &w->next_shared.sets[type];
    struct parts *own = map_get(w->own, id);
    if (!own)
        map_set(w->own, id, own = NEW(parts));
    return &own->sets[type];
}

static void edit(struct world *w, struct str type, struct str id, struct str name, struct str base64)
{
    int t = type_of(type);
    struct xds_set **at = slot(w, id, t);
    struct xds_set_builder *b = xds_set_begin(push_pool(w->push), push_type_name(t), *at);
    struct arena a;
    struct str packed;
    arena_init(&a, 0);
    if (!base64.p)
        xds_set_drop(b, name);
    else if (b64_decode_in(&a, base64, &packed))
        xds_set_put(b, name, packed);
    arena_fini(&a);
    xds_set_unref(at);
    *at = xds_set_end(&b);
}

static void change_endpoint(struct world *w, struct str k, struct str address)
{
    struct strbuf packed = {0};
    char text[128];
    uint64_t n = 0;
    str_to_u64(k, &n);
    struct str name = cluster_name((uint32_t)n, text, sizeof text);
    make_assignment(w, &packed, name, (uint32_t)n, address);
    set_one(w, PUSH_EDS, name, &packed);
    strbuf_fini(&packed);
    push_changed(w->push, PUSH_ENDPOINTS, 0);
}

static void change_route(struct world *w, struct str mark)
{
    struct strbuf packed = {0};
    make_routes(w, &packed, mark);
    set_one(w, PUSH_RDS, STR("80"), &packed);
    strbuf_fini(&packed);
    push_changed(w->push, PUSH_FULL, 0);
}

static void tell(struct world *w, void (*write)(const struct push *p, struct strbuf *out), bool is_line)
{
    struct strbuf out = {0};
    write(w->push, &out);
    for (size_t i = 0; is_line && i < out.n; i++)
        out.p[i] = out.p[i] == '\n' ? ' ' : out.p[i];
    say("%s", out.p);
    strbuf_fini(&out);
}

static void on_drained(void *user)
{
    struct world *w = user;
    say("drained");
    loop_stop(w->loop);
}

static void touch(struct world *w, struct str id, struct str type)
{
    struct client *c = map_get(w->clients, id);
    if (c)
        push_touch(c->proxy, 1u << type_of(type));
}

static void command(struct world *w, struct str line)
{
    struct str rest, word[5] = {0};
    rest = line;
    for (int i = 0; i < 5 && rest.p; i++)
        word[i] = str_split(rest, ' ', &rest);
    uint64_t n = 0, e = 0;
    if (str_eq(word[0], STR("put")) || str_eq(word[0], STR("drop"))) {
        edit(w, word[1], word[2], word[3], word[4]);
    } else if (str_eq(word[0], STR("load"))) {
        source_refresh(&w->source, PUSH_FULL);
        say("loaded");
    } else if (str_eq(word[0], STR("changed"))) {
        push_changed(w->push, str_eq(word[1], STR("full")) ? PUSH_FULL : PUSH_ENDPOINTS, 0);
    } else if (str_eq(word[0], STR("world")) && str_to_u64(word[1], &n) && str_to_u64(word[2], &e)) {
        w->services = (uint32_t)n, w->endpoints = (uint32_t)e;
        make_world(w);
    } else if (str_eq(word[0], STR("eds"))) {
        change_endpoint(w, word[1], word[2]);
    } else if (str_eq(word[0], STR("route"))) {
        change_route(w, word[1]);
    } else if (str_eq(word[0], STR("touch"))) {
        touch(w, word[1], word[2]);
    } else if (str_eq(word[0], STR("syncz"))) {
        tell(w, push_syncz, true);
    } else if (str_eq(word[0], STR("metrics"))) {
        tell(w, push_metrics, false);
    } else if (str_eq(word[0], STR("drain"))) {
        grpc_server_drain(w->grpc, on_drained, w);
    } else if (str_eq(word[0], STR("quit"))) {
        loop_stop(w->loop);
    } else {
        fprintf(stderr, "not a command: %.*s\n", STR_ARG(line));
    }
}

static void on_input(struct watch *watch, unsigned events)
{
    struct world *w = CONTAINER_OF(watch, world, input);
    char chunk[65536];
    (void)events;
    ssize_t n = read(STDIN_FILENO, chunk, sizeof chunk);
    if (n <= 0) {
        loop_stop(w->loop);
        return;
    }
    strbuf_add(&w->line, chunk, (size_t)n);
    struct str rest = strbuf_str(&w->line), line;
    while (str_find_char(rest, '\n') >= 0) {
        line = str_split(rest, '\n', &rest);
        command(w, line);
    }
    struct str left = str_dup(rest);
    strbuf_reset(&w->line);
    strbuf_adds(&w->line, left);
    str_free(&left);
}

/* ---- main ---- */

static void on_accept(void *user, int fd, const struct addr *remote)
{
    struct world *w = user;
    grpc_server_accept(w->grpc, conn_new_accepted(w->loop, fd, remote, NULL));
}

static void fini(struct world *w)
{
    size_t pos = 0;
    struct str key;
    void *value;
    for (int t = 0; t < PUSH_TYPE_COUNT; t++) {
        xds_set_unref(&w->shared.sets[t]);
        xds_set_unref(&w->next_shared.sets[t]);
    }
    while (map_next(w->own, &pos, &key, &value)) {
        for (int t = 0; t < PUSH_TYPE_COUNT; t++)
            xds_set_unref(&((struct parts *)value)->sets[t]);
        mem_free(value);
    }
    map_free(&w->own);
    map_free(&w->clients);
    strbuf_fini(&w->line);
}

static uint64_t option(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    uint64_t v;
    return text && str_to_u64(str_from(text), &v) ? v : otherwise;
}

int main(void)
{
    struct world w = {.source.ops = &source_ops};
    struct err err = {0};
    struct addr any = {.in4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}}, bound = {0};
    int fd;
    any.in4.sin_port = htons((uint16_t)option("PORT", 0));
    const struct push_opts opts = {.keep_identifier = STR("{\"Component\":\"push_world\"}"), .debounce_ms = option("DEBOUNCE_MS", 10), .debounce_max_ms = option("DEBOUNCE_MAX_MS", 0),
                                   .endpoint_debounce_ms = option("ENDPOINT_DEBOUNCE_MS", 0),
                                   .first_pushes_max = (uint32_t)option("FIRST_PUSHES", 0), .streams_max = (uint32_t)option("STREAMS", 0)};
    const struct grpc_server_opts grpc = {.message_bytes_max = (uint32_t)option("MESSAGE_BYTES", 0), .drain_ms = option("DRAIN_MS", 0),
                                          .streams_max = (uint32_t)option("CALLS", 0), .ping_interval_ms = option("PING_MS", 0), .ping_timeout_ms = option("PING_TIMEOUT_MS", 0)};
    w.loop = loop_new("main", &err);
    w.push = push_new(w.loop, &opts, &w.source);
    w.grpc = grpc_server_new(w.loop, &grpc);
    w.own = map_new();
    w.clients = map_new();
    push_serve(w.push, w.grpc, true);
    add_methods(w.grpc);
    if (listen_open(&any, &(struct listen_opts){0}, &fd, &bound, &err))
        return 1;
    struct acceptor *acceptor = acceptor_new(w.loop, fd, 0, on_accept, &w, &err);
    watch_add_level(w.loop, &w.input, STDIN_FILENO, on_input, &err);
    say("port %u", ntohs(bound.in4.sin_port));
    loop_run(w.loop);
    acceptor_free(&acceptor);
    close(fd);
    watch_del(&w.input);
    grpc_server_free(&w.grpc);
    conn_close_lingering();
    loop_turn(w.loop, 0);
    loop_turn(w.loop, 0);
    fini(&w);
    push_free(&w.push);
    loop_free(&w.loop);
    return 0;
}
