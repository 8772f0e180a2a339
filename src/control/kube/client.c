/* SPDX-License-Identifier: Apache-2.0
 *
 * A pool of connections (http/pool.h) to the server's addresses, which are asked for when there are none and after a connection
 * that failed.
 *
 *     call: BEGIN -> [ADDRESS] -> ASKED -> told
 *             ^-- PAUSE <-----------'   (tries are left)
 *
 * Invariants: a call is in the client's list until it was told or cancelled; afterwards nothing points to it but what the turn
 * still holds, and its memory goes at the turn's end. A body is bounded by what the caller said.
 */
#include "control/kube/client.h"


#include "base/log.h"
#include "base/mem.h"
#include "control/kube/backoff.h"
#include "control/kube/credentials.h"
#include "http/pool.h"
#include "io/dns.h"
#include "proto/json.h"

#define CONNECT_TIMEOUT_US UINT64_C(10000000)
#define IDLE_TIMEOUT_MS 90000u
#define PING_MS 30000u /* a server that is gone without a word is noticed after so long */
#define CALL_ARENA_BYTES ((size_t)256 << 10)
#define FAULT_BYTES_MAX ((size_t)64 << 10) /* of an answer that says what is wrong, where lines were wanted */
#define ADDRESSES_MAX 16u

enum call_state { CALL_BEGIN, CALL_ADDRESS, CALL_ASKED, CALL_PAUSE };

struct kube_call {
    struct list node;
    struct kube_client *client;
    struct deferred deferred;
    struct timer timer;              /* of the try, or of the pause */
    struct arena arena;              /* of the try */
    struct http_sink sink;
    struct http_pool_request *place; /* in the pool's queue */
    struct http_stream *stream;
    struct kube_request request;     /* texts own */
    struct strbuf body;
    struct kube_lines lines;
    struct err failure;
    enum call_state state;
    unsigned status, tries;
    uint64_t retry_after_ms;
    bool is_over, is_renewed;        /* credentials, because of it */
    kube_fn fn;
    void *user;
};
struct kube_client {
    struct loop *loop;
    struct kube_config config;
    struct kube_credentials *credentials;
    struct http_client_opts http;
    struct http_pool_opts pool_opts;
    struct http_pool *pool;
    struct dns_resolver *resolver;   /* NULL: the host is an address */
    struct dns_query *query;
    struct addr addresses[ADDRESSES_MAX];
    uint32_t address_count;
    struct str server_name;          /* that is verified */
    struct list calls;
    struct kube_client_counters counters;
    struct deferred deferred;
};

static void attempt(struct kube_call *k);

/* ---- the end of a call ---- */

static void destroy_call(struct deferred *d)
{
    struct kube_call *k = CONTAINER_OF(d, kube_call, deferred);
    str_free(&k->request.path);
    str_free(&k->request.content_type);
    if (k->request.body.p)
        explicit_bzero((char *)(uintptr_t)k->request.body.p, k->request.body.n); /* it may hold a token */
    str_free(&k->request.body);
    strbuf_fini(&k->body);
    kube_lines_fini(&k->lines);
    arena_fini(&k->arena);
    mem_free(k);
}

/* What the try has under way ends. */
static void let_go(struct kube_call *k)
{
    struct http_pool_request *place = k->place;
    struct http_stream *stream = k->stream;
    k->place = NULL;
    k->stream = NULL;
    timer_clear(&k->timer);
    if (place)
        http_pool_cancel(place);
    if (stream) {
        stream->sink = &http_deaf_sink;
        stream_reset(stream, STREAM_LOCAL);
    }
}

static void retire(struct kube_call *k)
{
    k->is_over = true;
    list_remove(&k->node);
    let_go(k);
    loop_defer(k->client->loop, &k->deferred, destroy_call);
}

void kube_cancel(struct kube_call **call)
{
    struct kube_call *k = *call;
    *call = NULL;
    if (k && !k->is_over)
        retire(k);
}

static bool may_pass(const struct kube_call *k)
{
    return k->failure.code ? k->failure.code != ERR_LIMIT : k->status == 429 || k->status >= 500;
}

static void count(struct kube_client *c, const struct kube_call *k)
{
    c->counters.failures += k->failure.code != 0;
    c->counters.throttled += !k->failure.code && k->status == 429;
    c->counters.server_errors += !k->failure.code && k->status >= 500;
}

/* The try is over: once more, or told. */
static void conclude(struct kube_call *k)
{
    struct kube_client *c = k->client;
    count(c, k);
    let_go(k);
    if (k->status == 401 && !k->failure.code && !k->is_renewed && kube_credentials_reload(c->credentials)) {
        k->is_renewed = true;
        k->state = CALL_PAUSE;
        timer_set_ms(&k->timer, 1); /* the stream's memory is the turn's */
        return;
    }
    if (may_pass(k) && ++k->tries < k->request.tries) {
        c->counters.retries++;
        k->state = CALL_PAUSE;
        timer_set_ms(&k->timer, kube_backoff_ms(k->tries, k->retry_after_ms, loop_rng(c->loop)));
        return;
    }
    struct kube_answer a = {k->failure.code ? &k->failure : NULL, k->status, k->body.n ? strbuf_str(&k->body) : STR(""), k->retry_after_ms};
    k->is_over = true; /* what fn cancels is over already */
    k->fn(k->user, &a);
    retire(k);
}

static void fail(struct kube_call *k, int code, const char *fmt, const char *detail)
{
    err_set(&k->failure, code, fmt, detail);
    conclude(k);
}

static void on_timer(struct timer *t)
{
    struct kube_call *k = CONTAINER_OF(t, kube_call, timer);
    if (k->state == CALL_BEGIN || k->state == CALL_PAUSE)
        attempt(k);
    else
        fail(k, ERR_TIMEOUT, "%s", "no whole answer in time");
}

/* ---- the answer ---- */

#define OF_SINK(sink) CONTAINER_OF(sink, kube_call, sink)

static void on_headers(struct http_sink *sink, struct headers *h, bool end)
{
    struct kube_call *k = OF_SINK(sink);
    uint64_t status = 0, seconds;
    (void)end; /* the stream's end tells */
    (void)!str_to_u64(headers_get_id(h, HDR_STATUS), &status);
    k->status = (unsigned)status;
    if (str_to_u64(headers_get(h, STR("retry-after")), &seconds))
        k->retry_after_ms = seconds < KUBE_RETRY_AFTER_MAX_MS / 1000 ? seconds * 1000 : KUBE_RETRY_AFTER_MAX_MS;
}

static void on_other_headers(struct http_sink *sink, struct headers *h)
{
    (void)sink, (void)h;
}

static bool on_line(void *user, struct str line)
{
    struct kube_call *k = user;
    return k->request.on_line(k->user, line) && !k->is_over;
}

static void take(struct kube_call *k, struct str piece)
{
    size_t limit = k->request.on_line ? FAULT_BYTES_MAX : k->request.limit_bytes;
    struct err err = {0};
    if (k->request.on_line && k->status / 100 == 2) {
        if (kube_lines_feed(&k->lines, piece, on_line, k, &err) && !k->is_over)
            fail(k, ERR_LIMIT, "%s", err.message);
        return;
    }
    if (k->body.n + piece.n > limit)
        fail(k, ERR_LIMIT, "%s", "the answer is longer than is allowed");
    else
        strbuf_add(&k->body, piece.p, piece.n);
}

static void on_data(struct http_sink *sink, struct buf *data, bool end)
{
    struct kube_call *k = OF_SINK(sink);
    struct str piece;
    (void)end;
    for (struct buf_iter it = {0}; k->stream && buf_next(data, &it, &piece);)
        take(k, piece);
    buf_drain(data, data->len);
}

static void on_stream_closed(struct http_sink *sink, enum stream_reset why, const char *details)
{
    struct kube_call *k = OF_SINK(sink);
    k->stream = NULL;
    if (k->is_over)
        return;
    if (why == STREAM_OK)
        conclude(k);
    else
        fail(k, ERR_IO, "%s", *details ? details : stream_reset_text(why));
}

static void on_watermark(struct http_sink *sink, bool above)
{
    (void)sink, (void)above; /* what is sent is small, and queued whole */
}

static const struct http_sink_ops sink_ops = {.on_headers = on_headers, .on_informational = on_other_headers, .on_data = on_data,
                                              .on_trailers = on_other_headers, .on_closed = on_stream_closed, .on_watermark = on_watermark};

/* ---- asking ---- */

static void add_headers(struct kube_call *k, struct headers *h)
{
    const struct kube_client *c = k->client;
    struct str token = kube_credentials_token(c->credentials);
    headers_init(h, &k->arena);
    headers_add_id_ref(h, HDR_METHOD, str_from(k->request.method));
    headers_add_id_ref(h, HDR_SCHEME, c->config.is_tls ? STR("https") : STR("http"));
    headers_add_id_ref(h, HDR_AUTHORITY, c->config.authority);
    headers_add_id_ref(h, HDR_PATH, arena_printf(&k->arena, "%.*s%.*s", STR_ARG(c->config.path), STR_ARG(k->request.path)));
    headers_add_id_ref(h, HDR_ACCEPT, STR("application/json"));
    headers_add_id_ref(h, HDR_USER_AGENT, STR("weftd/" WEFT_VERSION));
    if (k->request.content_type.n)
        headers_add_id_ref(h, HDR_CONTENT_TYPE, k->request.content_type);
    if (k->request.body.n)
        headers_add_id_ref(h, HDR_CONTENT_LENGTH, arena_printf(&k->arena, "%zu", k->request.body.n));
    if (token.n) {
        headers_add_id_ref(h, HDR_AUTHORIZATION, arena_printf(&k->arena, "Bearer %.*s", STR_ARG(token)));
        headers_find_id(h, HDR_AUTHORIZATION)->never_index = true;
    }
}

static void on_stream(void *user, struct http_stream *s, struct http_client_conn *conn)
{
    struct kube_call *k = user;
    struct headers h;
    (void)conn;
    k->place = NULL;
    k->stream = s;
    add_headers(k, &h);
    if (k->arena.overflowed) {
        fail(k, ERR_LIMIT, "%s", "the request is too long");
        return;
    }
    stream_send_headers(s, &h, !k->request.body.n);
    if (k->stream == s && k->request.body.n) {
        struct buf body = BUF_INIT;
        buf_append_str(&body, k->request.body);
        stream_send_data(s, &body, true);
        buf_fini(&body);
    }
}

static void forget_addresses(struct kube_client *c)
{
    for (uint32_t i = 0; i < c->address_count; i++)
        addr_fini(&c->addresses[i]);
    c->address_count = 0;
}

static void on_no_stream(void *user, enum stream_reset why, const char *transport_failure, struct conn *failed)
{
    struct kube_call *k = user;
    (void)failed;
    k->place = NULL;
    if (k->is_over)
        return;
    if (k->client->resolver)
        forget_addresses(k->client); /* the name may mean others by now */
    fail(k, ERR_IO, "cannot connect: %s", transport_failure && *transport_failure ? transport_failure : stream_reset_text(why));
}

static const struct http_pool_user pool_user = {.on_stream = on_stream, .on_failed = on_no_stream};

static void ask(struct kube_call *k)
{
    struct http_pool_request *place;
    k->state = CALL_ASKED;
    place = http_pool_request(k->client->pool, false, &k->sink, &k->arena, &pool_user, k);
    if (place)
        k->place = place;
}

static void on_addresses(void *user, enum dns_status status, const struct dns_answer *answer)
{
    struct kube_client *c = user;
    c->query = NULL;
    forget_addresses(c);
    for (size_t i = 0; status == DNS_OK && i < answer->count && c->address_count < ADDRESSES_MAX; i++) {
        addr_copy(&c->addresses[c->address_count], &answer->addrs[i]);
        addr_set_port(&c->addresses[c->address_count++], c->config.port);
    }
    struct list waiting;
    list_init(&waiting);
    LIST_EACH(it, next, &c->calls)
        if (LIST_ENTRY(it, kube_call, node)->state == CALL_ADDRESS) {
            list_remove(it);
            list_push_back(&waiting, it);
        }
    for (struct list *it; (it = list_pop_front(&waiting)) != NULL;) {
        struct kube_call *k = LIST_ENTRY(it, kube_call, node);
        list_push_back(&c->calls, it);
        if (c->address_count)
            ask(k);
        else
            fail(k, ERR_IO, "the API server's name has no address: %s", answer && answer->reason ? answer->reason : "no answer");
    }
}

static void attempt(struct kube_call *k)
{
    struct kube_client *c = k->client;
    arena_reset(&k->arena);
    strbuf_reset(&k->body);
    kube_lines_fini(&k->lines);
    k->failure = (struct err){0};
    k->status = 0;
    k->retry_after_ms = 0;
    c->counters.requests++;
    timer_set_ms(&k->timer, k->request.timeout_ms);
    if (c->address_count) {
        ask(k);
        return;
    }
    k->state = CALL_ADDRESS;
    if (!c->query)
        c->query = dns_resolve(c->resolver, c->config.host, DNS_ALL, on_addresses, c);
}

struct kube_call *kube_call(struct kube_client *c, const struct kube_request *r, kube_fn fn, void *user)
{
    struct kube_call *k = NEW(kube_call);
    k->client = c;
    k->request = *r;
    k->request.path = str_dup(r->path);
    k->request.content_type = str_dup(r->content_type);
    k->request.body = str_dup(r->body);
    k->lines.limit_bytes = r->limit_bytes;
    k->sink.ops = &sink_ops;
    k->fn = fn;
    k->user = user;
    arena_init(&k->arena, CALL_ARENA_BYTES);
    list_push_back(&c->calls, &k->node);
    timer_init(&k->timer, c->loop, on_timer);
    timer_set_ms(&k->timer, 0); /* at the next turn */
    return k;
}

/* ---- connections ---- */

static bool is_that_ip(const void *arg, struct str name)
{
    struct addr wanted = {0}, shown = {0};
    return addr_from_ip(&wanted, *(const struct str *)arg, 0, NULL) == 0 && addr_from_ip(&shown, name, 0, NULL) == 0 &&
           addr_eq(&wanted, &shown);
}

static void add_tls(struct kube_client *c, struct conn *conn)
{
    struct addr ip = {0};
    struct err err = {0};
    bool is_ip = addr_from_ip(&ip, c->server_name, 0, NULL) == 0;
    struct tls_san_matcher san = {.type = is_ip ? TLS_SAN_IP : TLS_SAN_DNS, .arg = &c->server_name, .exact_dns = !is_ip,
                                  .match = is_ip ? is_that_ip : NULL};
    struct tls_client_opts o = {.sni = is_ip ? STR("") : c->server_name, .sans = &san, .san_count = !c->config.skip_verify};
    if (conn_start_tls(conn, kube_credentials_tls(c->credentials), &o, &err) < 0)
        conn_fail_later(conn, err.message);
}

static void ignore_closed(struct conn *c, void *user, enum conn_close why)
{
    (void)c, (void)user, (void)why;
}
static const struct conn_handler until_client = {.on_closed = ignore_closed};

static struct conn *connect_to_server(void *owner, struct loop *loop)
{
    struct kube_client *c = owner;
    if (!c->address_count)
        return NULL;
    struct conn_connect_opts o = {.remote = &c->addresses[0], .alternatives = c->addresses + 1, .alternative_count = c->address_count - 1,
                                  .connect_timeout_us = CONNECT_TIMEOUT_US, .keepalive = true, .keepalive_time_s = 30,
                                  .keepalive_interval_s = 10, .keepalive_probes = 3};
    struct conn *conn = conn_connect(loop, &o, &until_client, c);
    if (c->config.is_tls)
        add_tls(c, conn);
    return conn;
}

static const struct http_pool_events pool_events = {.connect = connect_to_server};

/* Watches go on over the old ones: they end by themselves within minutes. */
static void on_new_tls(void *user)
{
    struct kube_client *c = user;
    if (c->pool)
        http_pool_retire_connections(c->pool);
    c->counters.renewed++;
}

/* ---- life ---- */

static int find_server(struct kube_client *c, struct err *err)
{
    c->server_name = c->config.server_name.n ? c->config.server_name : c->config.host;
    if (addr_from_ip(&c->addresses[0], c->config.host, c->config.port, NULL) == 0)
        c->address_count = 1;
    else if (!(c->resolver = dns_resolver_new(c->loop, &(struct dns_opts){0}, err)))
        return ERR_IO;
    return 0;
}

static void set_options(struct kube_client *c)
{
    c->http = (struct http_client_opts){.h1 = {.limits = H1_LIMITS_DEFAULT}, .h2 = h2_opts_default(false), .h2_ping_interval_ms = PING_MS,
                                        .h2_ping_timeout_ms = PING_MS / 2, .buffer_limit_bytes = 1 << 20,
                                        .max_response_header_bytes = 64 << 10};
    c->pool_opts = (struct http_pool_opts){.client = &c->http, .protocol = HTTP_11, .alpn = c->config.is_tls,
                                           .idle_timeout_ms = IDLE_TIMEOUT_MS, .preconnect_ratio = 1.0f};
}

struct kube_client *kube_client_new(struct loop *loop, struct kube_config *take_config, struct err *err)
{
    struct kube_client *c = NEW(kube_client);
    c->loop = loop;
    c->config = *take_config;
    *take_config = (struct kube_config){0};
    list_init(&c->calls);
    set_options(c);
    c->credentials = kube_credentials_new(loop, &c->config, on_new_tls, c, err);
    if (!c->credentials || find_server(c, err))
        kube_client_free(&c);
    else
        c->pool = http_pool_new(loop, &c->pool_opts, &pool_events, c);
    return c;
}

static void destroy_client(struct deferred *d)
{
    struct kube_client *c = CONTAINER_OF(d, kube_client, deferred);
    kube_credentials_free(&c->credentials);
    forget_addresses(c);
    kube_config_fini(&c->config);
    mem_free(c);
}

void kube_client_free(struct kube_client **p)
{
    struct kube_client *c = *p;
    *p = NULL;
    if (!c)
        return;
    LIST_EACH(it, next, &c->calls)
        LIST_ENTRY(it, kube_call, node)->is_over = true; /* one that ends another's connection doesn't tell that one either */
    LIST_EACH(it, next, &c->calls)
        retire(LIST_ENTRY(it, kube_call, node));
    if (c->query)
        dns_cancel(c->query);
    dns_resolver_free(&c->resolver);
    if (c->pool)
        http_pool_free(&c->pool);
    loop_defer(c->loop, &c->deferred, destroy_client); /* connections that close look at the options */
}

struct loop *kube_client_loop(const struct kube_client *c)
{
    return c->loop;
}

struct kube_client_counters kube_client_counters(const struct kube_client *c)
{
    return c->counters;
}

/* ---- texts ---- */

int kube_answer_fault(const struct kube_answer *a, struct err *err)
{
    if (a->failure)
        return err_set(err, a->failure->code, "%s", a->failure->message);
    struct proto_arena *pa = proto_arena_new(0);
    struct err_list faults = {0};
    struct str message = doc_text(json_read(pa, a->body, NULL, &faults), STR("message"));
    if (!message.n)
        message = str_trim(str_split(a->body, '\n', &(struct str){0}));
    if (message.n > 300)
        message.n = 300;
    int rc = err_set(err, a->status == 404 ? ERR_NOT_FOUND : ERR_IO, "%u%s%.*s", a->status, message.n ? ": " : "", STR_ARG(message));
    err_list_fini(&faults);
    proto_arena_free(&pa);
    return rc;
}

void kube_escape(struct strbuf *out, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c && strchr("-._~", c)))
            strbuf_addc(out, (char)c);
        else
            strbuf_addf(out, "%%%02X", c);
    }
}
