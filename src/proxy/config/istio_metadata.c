/* SPDX-License-Identifier: Apache-2.0
 *
 * Metadata exchange of HTTP and TCP, and what it takes of our own node: its id and its metadata are
 * kept from the bootstrap on, since configurations that come later need them too. Baggage and filter
 * state of an outer tunnel as ways to know a peer belong to HBONE and are refused. Main thread.
 */
#include "proxy/filter/istio_metadata_exchange.h"

#include "base/base64.h"
#include "base/mem.h"
#include "proxy/cel/cel.h"
#include "proxy/config/config_priv.h"
#include "proxy/config/istio_priv.h"

static struct {
    struct arena arena;
    struct str id;
    struct meta_value metadata, node;
} self;

/* xds.node, as expressions see it. */
static void make_node(struct str cluster)
{
    struct meta_field *items = arena_zalloc(&self.arena, 3 * sizeof(*items));
    items[0] = (struct meta_field){STR("id"), {.kind = META_STRING, .u.string = self.id}};
    items[1] = (struct meta_field){STR("cluster"), {.kind = META_STRING, .u.string = arena_str(&self.arena, cluster)}};
    items[2] = (struct meta_field){STR("metadata"), self.metadata};
    self.node = (struct meta_value){.kind = META_STRUCT, .u.fields = {items, 3}};
    cel_set_node(&self.node);
}

void cfg_istio_node(struct config_reader *cr, const pb_node *m)
{
    arena_fini(&self.arena);
    arena_init(&self.arena, 0);
    self.id = arena_str(&self.arena, m ? TEXT(m, id) : STR(""));
    self.metadata = (struct meta_value){.kind = META_STRUCT};
    if (m && GET(m, metadata))
        self.metadata = cfg_struct(cr, m->metadata, &self.arena);
    make_node(m ? str_from(m->cluster) : STR(""));
}

const struct meta_value *cfg_istio_node_metadata(void)
{
    return &self.metadata;
}

struct str cfg_istio_node_id(void)
{
    return self.id;
}

struct str cfg_istio_own_struct(struct config_reader *cr, char **labels, uint32_t label_count, struct arena *a)
{
    (void)cr;
    struct strbuf packed = {0};
    struct str *extra = ARENA_ARRAY(a, struct str, label_count);
    for (uint32_t i = 0; i < label_count; i++)
        extra[i] = arena_str(a, str_from(labels[i]));
    istio_pack_self(&self.metadata, extra, label_count, &packed);
    struct str out = arena_str(a, strbuf_str(&packed));
    strbuf_fini(&packed);
    return out;
}

/* ---- HTTP ---- */

#define DISCOVERY(x) IO__ISTIO__HTTP__PEER_METADATA__CONFIG__DISCOVERY_METHOD__METHOD_SPECIFIER_##x
#define PROPAGATION(x) IO__ISTIO__HTTP__PEER_METADATA__CONFIG__PROPAGATION_METHOD__METHOD_SPECIFIER_##x

static void read_discovery(struct config_reader *cr, pb_peer_discovery *const *items, uint32_t n, const char *field,
                           struct istio_mx_side *out)
{
    for (uint32_t i = 0; i < n; i++)
        IN("%s[%u]", field, i) {
            const pb_peer_discovery *m = items[i];
            switch ((int)m->method_specifier_case) {
            case DISCOVERY(ISTIO_HEADERS):
                out->discovers = true;
                if (GET(m, istio_headers))
                    (void)GET(m->istio_headers, skip_external_clusters); /* of propagation only, in Istio too */
                break;
            case DISCOVERY(WORKLOAD_DISCOVERY): /* finds nobody where no workload index is kept, as in any sidecar of istiod's */
                (void)GET(m, workload_discovery);
                break;
            case DISCOVERY(_NOT_SET):
                FAULT("", "one of baggage, workload_discovery, istio_headers, upstream_filter_state must be set");
                break;
            default:
                UNSUPPORTED("", m->method_specifier_case == DISCOVERY(BAGGAGE) ? "baggage" : "upstream_filter_state");
                proto_read_whole(&cr->r, &m->base);
            }
        }
}

static void read_propagation(struct config_reader *cr, pb_peer_propagation *const *items, uint32_t n, const char *field,
                             struct istio_mx_side *out)
{
    for (uint32_t i = 0; i < n; i++)
        IN("%s[%u]", field, i) {
            const pb_peer_propagation *m = items[i];
            switch ((int)m->method_specifier_case) {
            case PROPAGATION(ISTIO_HEADERS):
                out->propagates = true;
                out->skips_external = GET(GET(m, istio_headers), skip_external_clusters);
                break;
            case PROPAGATION(_NOT_SET):
                FAULT("", "one of istio_headers, baggage must be set");
                break;
            default:
                UNSUPPORTED("", "baggage");
                proto_read_whole(&cr->r, &m->base);
            }
        }
}

static void free_http(void *config)
{
    struct istio_mx_config *c = config;
    istio_peers_unref(&c->peers);
}

int cfg_istio_http_mx(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_peer_metadata *m = (const pb_peer_metadata *)msg;
    struct cfg_http_filter *f = out;
    struct istio_mx_config *c = arena_zalloc(f->arena, sizeof *c);
    read_discovery(cr, m->downstream_discovery, LEN(m, downstream_discovery), "downstream_discovery", &c->downstream);
    read_discovery(cr, m->upstream_discovery, LEN(m, upstream_discovery), "upstream_discovery", &c->upstream);
    read_propagation(cr, m->downstream_propagation, LEN(m, downstream_propagation), "downstream_propagation", &c->downstream);
    read_propagation(cr, m->upstream_propagation, LEN(m, upstream_propagation), "upstream_propagation", &c->upstream);
    char **labels = GET(m, additional_labels);
    struct str bytes = cfg_istio_own_struct(cr, labels, LEN(m, additional_labels), f->arena);
    c->id = arena_str(f->arena, self.id);
    c->metadata = b64_encode_in(f->arena, bytes);
    c->sharing = GET(m, shared_with_upstream) ? FILTER_STATE_SHARED_ONCE : FILTER_STATE_PRIVATE;
    c->peers = istio_peers_ref();
    f->spec->config = c;
    f->spec->free_config = free_http;
    return 0;
}

/* ---- TCP ---- */

static void read_exchange(struct config_reader *cr, const pb_metadata_exchange *m, struct arena *a, struct istio_exchange_config *out)
{
    struct strbuf hello = {0};
    struct str protocol = TEXT(m, protocol);
    if (!protocol.n)
        FAULT("protocol", "must be set");
    (void)GET(m, enable_discovery); /* by address, in a workload index that isn't kept */
    char **labels = GET(m, additional_labels);
    istio_pack_hello(cfg_istio_own_struct(cr, labels, LEN(m, additional_labels), a), self.id, &hello);
    out->protocol = arena_str(a, protocol);
    out->hello = arena_str(a, strbuf_str(&hello));
    out->upstream.make = istio_upstream_prologue;
    strbuf_fini(&hello);
}

static void free_exchange(void *config)
{
    struct istio_exchange_config *c = config;
    stat_scope_unref(&c->stats);
    arena_fini(&c->arena);
    mem_free(c);
}

int cfg_istio_tcp_mx(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_network_filter *f = out;
    struct istio_exchange_config *c = NEW(istio_exchange_config);
    arena_init(&c->arena, 0);
    f->spec->config = c;
    f->spec->free_config = free_exchange;
    read_exchange(cr, (const pb_metadata_exchange *)msg, &c->arena, c);
    return 0;
}

int cfg_istio_upstream_mx(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_upstream_filter *f = out;
    struct istio_exchange_config *c = arena_zalloc(f->arena, sizeof *c);
    read_exchange(cr, (const pb_metadata_exchange *)msg, f->arena, c);
    if (f->spec->prologue)
        FAULT("", "a cluster's connections can begin with one exchange only");
    f->spec->prologue = &c->upstream;
    return 0;
}

void cfg_cluster_filters(struct config_reader *cr, const pb_cluster *m, struct cluster_spec *out)
{
    uint32_t n = LEN(m, filters);
    for (uint32_t i = 0; i < n; i++)
        IN("filters[%u]", i) {
            ProtobufCMessage *msg = NULL;
            const __auto_type filter = m->filters[i];
            const pb_any *any = GET(filter, typed_config);
            const struct extension *ext = cfg_extension(cr, EXT_UPSTREAM_FILTER, "typed_config", TEXT(filter, name), any, &msg);
            struct cfg_upstream_filter f = {out, &out->memory->arena};
            if (ext)
                IN("typed_config")
                    ext->read(cr, msg, &f);
        }
}
