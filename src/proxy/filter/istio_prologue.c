/* SPDX-License-Identifier: Apache-2.0
 *
 * Metadata exchange of connections. Where ALPN settled on the exchange's protocol, each side sends,
 * before any byte of its own and without waiting for the other: a magic number and a length, 32 bits
 * each in network order, and an Any with a Struct that holds the sender's metadata and id. A peer
 * that begins with anything else is taken for one that tells nothing: all it sent is passed on.
 * A length past the limit closes the connection. On the connection's worker.
 */
#include "base/mem.h"
#include "proxy/filter/istio_metadata_exchange.h"
#include "proxy/filter/value_wire.h"
#include "proto/wire.h"

#include <arpa/inet.h>

#define MAGIC 0x3d230467u
#define HEAD_BYTES 8
#define STRUCT_URL "type.googleapis.com/google.protobuf.Struct"
#define METADATA_KEY "x-envoy-peer-metadata"
#define ID_KEY "x-envoy-peer-metadata-id"

static const struct stat_desc rows[] = {ISTIO_EXCHANGE_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

struct exchange_prologue {
    struct upstream_prologue up; /* also of downstream connections, where `tell` is set from the start */
    const struct istio_exchange_config *config;
    struct str key; /* of the filter state: whose peer it is */
    struct downstream_hook hook; /* downstream only */
};

static struct exchange_prologue *of(struct conn_prologue *p)
{
    return CONTAINER_OF(CONTAINER_OF(p, upstream_prologue, base), exchange_prologue, up);
}

/* ---- the message ---- */

static void pack_entry(struct strbuf *out, const char *key, unsigned kind, struct str value)
{
    size_t entry = wire_open(out, 1), inner;
    wire_bytes(out, 1, key, strlen(key));
    inner = wire_open(out, 2);
    wire_bytes(out, kind, value.p ? value.p : "", value.n);
    wire_close(out, inner);
    wire_close(out, entry);
}

void istio_pack_hello(struct str own_struct, struct str id, struct strbuf *out)
{
    struct strbuf any = {0};
    wire_bytes(&any, 1, STRUCT_URL, sizeof(STRUCT_URL) - 1);
    size_t value = wire_open(&any, 2);
    pack_entry(&any, METADATA_KEY, 5, own_struct);
    pack_entry(&any, ID_KEY, 3, id);
    wire_close(&any, value);
    uint32_t head[2] = {htonl(MAGIC), htonl((uint32_t)any.n)};
    strbuf_add(out, head, sizeof(head));
    strbuf_adds(out, strbuf_str(&any));
    strbuf_fini(&any);
}

/* An Any has two fields, both length-delimited. Anything else makes it none. */
static bool open_any(struct str bytes, struct str *type, struct str *value)
{
    *type = *value = STR("");
    while (bytes.n) {
        uint64_t n = 0;
        unsigned tag = (uint8_t)bytes.p[0], shift = 0;
        size_t at = 1;
        for (bool more = true; more; shift += 7, at++) {
            if (at >= bytes.n || shift > 28)
                return false;
            more = (uint8_t)bytes.p[at] & 128;
            n |= (uint64_t)((uint8_t)bytes.p[at] & 127) << shift;
        }
        if (n > bytes.n - at || (tag != 0x0a && tag != 0x12))
            return false;
        *(tag == 0x0a ? type : value) = str_make(bytes.p + at, n);
        bytes = str_make(bytes.p + at + n, bytes.n - at - n);
    }
    return true;
}

static struct istio_peer *read_peer(struct str bytes, struct arena *a)
{
    struct str type, value;
    struct meta_value whole = {0};
    if (!open_any(bytes, &type, &value) || !str_has_suffix(type, STR("google.protobuf.Struct")) ||
        !istio_struct_from_wire(value, a, &whole))
        return NULL;
    const struct meta_value *said = meta_field(&whole, STR(METADATA_KEY));
    return said && said->kind == META_STRUCT ? istio_peer_new(said) : NULL;
}

/* ---- the exchange ---- */

static void count(const struct exchange_prologue *x, enum istio_exchange_stat row)
{
    if (x->config->stats)
        stat_inc(x->config->stats, row);
}

static void note_nobody(struct exchange_prologue *x, enum istio_exchange_stat row)
{
    count(x, row);
    if (x->up.tell)
        filter_state_set(x->up.tell, ISTIO_NO_PEER, STR("true"), false, FILTER_STATE_PRIVATE);
}

static bool has_agreed(const struct istio_exchange_config *config, const struct conn *c)
{
    const struct tls_session *tls = conn_tls(c);
    return tls && str_eq(tls_session_alpn(tls), config->protocol);
}

static bool on_open(struct conn_prologue *p, struct conn *c)
{
    struct exchange_prologue *x = of(p);
    if (!has_agreed(x->config, c)) {
        note_nobody(x, STAT_EXCHANGE_ALPN_NOT_FOUND);
        return false;
    }
    count(x, STAT_EXCHANGE_ALPN_FOUND);
    buf_append_str(conn_out(c), x->config->hello);
    return true;
}

static void take_message(struct exchange_prologue *x, struct buf *bytes, size_t n)
{
    struct arena a;
    arena_init(&a, ISTIO_PEER_MEMORY_MAX);
    char *text = arena_bytes(&a, n + 1);
    struct istio_peer *peer = NULL;
    if (text) {
        buf_copy_out(bytes, HEAD_BYTES, text, n);
        peer = read_peer(str_make(text, n), &a);
    }
    buf_drain(bytes, HEAD_BYTES + n);
    arena_fini(&a);
    if (!peer) {
        note_nobody(x, STAT_EXCHANGE_NO_HEADER);
        return;
    }
    count(x, STAT_EXCHANGE_ADDED);
    struct filter_state_object *o = &peer->object;
    if (x->up.tell)
        filter_state_set_object(x->up.tell, x->key, o, FILTER_STATE_SHARED_ONCE);
    filter_state_object_unref(&o);
}

/* As many bytes of the magic number as are there already speak against it or don't. */
static bool may_be_magic(const struct buf *bytes)
{
    uint32_t magic = htonl(MAGIC);
    uint8_t there[4];
    size_t n = buf_copy_out(bytes, 0, there, sizeof(there));
    return memcmp(there, &magic, n) == 0;
}

static enum conn_prologue_step on_bytes(struct conn_prologue *p, struct conn *c, struct buf *bytes, bool end)
{
    (void)c;
    struct exchange_prologue *x = of(p);
    uint32_t head[2];
    if (!may_be_magic(bytes) || (end && bytes->len < HEAD_BYTES)) {
        note_nobody(x, STAT_EXCHANGE_NO_MAGIC);
        return CONN_PROLOGUE_DONE;
    }
    if (bytes->len < HEAD_BYTES)
        return CONN_PROLOGUE_MORE;
    buf_copy_out(bytes, 0, head, sizeof(head));
    size_t n = ntohl(head[1]);
    if (n > ISTIO_PEER_BYTES_MAX) {
        note_nobody(x, STAT_EXCHANGE_NO_HEADER);
        return CONN_PROLOGUE_FAIL;
    }
    if (bytes->len - HEAD_BYTES < n) {
        if (end)
            note_nobody(x, STAT_EXCHANGE_NO_HEADER);
        return end ? CONN_PROLOGUE_FAIL : CONN_PROLOGUE_MORE;
    }
    take_message(x, bytes, n);
    return CONN_PROLOGUE_DONE;
}

static void free_prologue(struct conn_prologue *p)
{
    mem_free(of(p));
}

static const struct conn_prologue_ops ops = {.on_open = on_open, .on_bytes = on_bytes, .free = free_prologue};

static struct exchange_prologue *prologue_new(const struct istio_exchange_config *config, struct str key)
{
    struct exchange_prologue *x = NEW(exchange_prologue);
    x->up.base.ops = &ops;
    x->config = config;
    x->key = key;
    return x;
}

struct upstream_prologue *istio_upstream_prologue(const struct upstream_prologue_spec *spec)
{
    return &prologue_new(CONTAINER_OF(spec, istio_exchange_config, upstream), ISTIO_UPSTREAM_PEER)->up;
}

/* ---- the network filter ---- */

/* The conn may linger without us: nothing more is told to a filter state that goes now. */
static void on_gone(struct downstream *d, struct downstream_hook *hook)
{
    (void)d;
    CONTAINER_OF(hook, exchange_prologue, hook)->up.tell = NULL;
}

static enum prologue on_connection(struct downstream *d, const void *config, void **state)
{
    (void)state;
    const struct istio_exchange_config *c = config;
    if (!has_agreed(c, d->conn)) { /* most connections: HTTP tells in headers */
        stat_inc(c->stats, STAT_EXCHANGE_ALPN_NOT_FOUND);
        return PROLOGUE_PASS;
    }
    struct exchange_prologue *x = prologue_new(config, ISTIO_DOWNSTREAM_PEER);
    x->up.tell = &d->filter_state;
    x->hook.on_gone = on_gone;
    downstream_on_gone(d, &x->hook);
    conn_set_prologue(d->conn, &x->up.base);
    return conn_is_connected(d->conn) ? PROLOGUE_PASS : PROLOGUE_CLOSED;
}

static void link_exchange(void *config, struct link_context *cx)
{
    (void)cx;
    struct istio_exchange_config *c = config;
    if (!c->stats)
        c->stats = stat_scope_get(STR("metadata_exchange."), &table, STR("metadata_exchange."), NULL, 0);
}

const struct network_filter_def istio_tcp_mx_filter = {
    .name = "istio.metadata_exchange",
    .on_connection = on_connection,
    .link = link_exchange,
};
