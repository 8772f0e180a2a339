/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes: the id's four parts, metadata of texts, and what the world knows of the workload behind the first address.
 */
#include "control/translate/node.h"

#include <arpa/inet.h>

#include "envoy/config/core/v3/base.pb-c.h"

#define NODE Envoy__Config__Core__V3__Node

struct reading {
    struct arena *a;
    const NODE *message;
    struct node *out;
    struct err *err;
};

const Google__Protobuf__Value *struct_member(const Google__Protobuf__Struct *s, const char *key)
{
    for (size_t i = 0; s && i < s->n_fields; i++)
        if (strcmp(s->fields[i]->key, key) == 0)
            return s->fields[i]->value;
    return NULL;
}

const Google__Protobuf__Value *node_metadata(const struct node *n, const char *key)
{
    return struct_member(((const NODE *)n->message)->metadata, key);
}

static struct str meta(const struct reading *r, const char *key)
{
    const Google__Protobuf__Value *v = struct_member(r->message->metadata, key);
    return v && v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE ? str_from(v->string_value) : STR("");
}

/* Switches are texts ("true", "1"), now and then booleans. */
static bool meta_is(const struct reading *r, const char *key)
{
    const Google__Protobuf__Value *v = struct_member(r->message->metadata, key);
    if (v && v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE)
        return v->bool_value;
    struct str s = meta(r, key);
    return str_eq(s, STR("true")) || str_eq(s, STR("1"));
}

static struct str or(struct str s, struct str otherwise)
{
    return s.n ? s : otherwise;
}

/* "sidecar~10.0.0.1~pod.ns~ns.svc.cluster.local" */
static int read_id(struct reading *r, struct str *address)
{
    static const struct { struct str text; enum node_type type; } types[] = {
        {STR("sidecar"), NODE_SIDECAR}, {STR("router"), NODE_ROUTER}, {STR("waypoint"), NODE_WAYPOINT}, {STR("ztunnel"), NODE_ZTUNNEL},
    };
    struct node *n = r->out;
    struct str rest = n->id = str_from(r->message->id), parts[4];
    for (int i = 0; i < 4; i++) {
        if (!rest.p)
            return err_set(r->err, ERR_INVALID, "node.id \"%.*s\" has not the form TYPE~IP~NAME.NAMESPACE~DOMAIN", STR_ARG(n->id));
        parts[i] = str_split(rest, '~', &rest);
    }
    n->type = NODE_OTHER;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (str_eq(parts[0], types[i].text))
            n->type = types[i].type;
    if (n->type == NODE_OTHER)
        return err_set(r->err, ERR_INVALID, "node.id \"%.*s\": there is no proxy type \"%.*s\"", STR_ARG(n->id), STR_ARG(parts[0]));
    *address = parts[1];
    struct str ns;
    n->name = str_split(parts[2], '.', &ns);
    n->ns = or(meta(r, "NAMESPACE"), ns.p ? ns : STR(""));
    n->domain = parts[3];
    if (n->ns.n == 0)
        return err_set(r->err, ERR_INVALID, "node.id \"%.*s\" and its metadata tell no namespace", STR_ARG(n->id));
    return 0;
}

static bool is_address(struct arena *a, struct str s)
{
    uint8_t room[16];
    const char *z = arena_str(a, s).p;
    return inet_pton(AF_INET, z, room) == 1 || inet_pton(AF_INET6, z, room) == 1;
}

static int read_addresses(struct reading *r, struct str first)
{
    struct str all = or(meta(r, "INSTANCE_IPS"), first);
    struct str *room = arena_alloc(r->a, (all.n / 2 + 2) * sizeof(*room));
    uint32_t n = 0;
    for (struct str rest = all; rest.p;) {
        struct str one = str_trim(str_split(rest, ',', &rest));
        if (is_address(r->a, one))
            room[n++] = one;
    }
    r->out->addresses = room;
    r->out->address_count = n;
    if (n == 0)
        return err_set(r->err, ERR_INVALID, "node \"%.*s\" has no address: neither INSTANCE_IPS nor its id", STR_ARG(r->out->id));
    return 0;
}

static void read_labels(struct reading *r)
{
    const Google__Protobuf__Value *v = struct_member(r->message->metadata, "LABELS");
    if (!v || v->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE)
        return;
    const Google__Protobuf__Struct *s = v->struct_value;
    struct label *items = arena_alloc(r->a, (s->n_fields + 1) * sizeof(*items));
    uint32_t n = 0;
    for (size_t i = 0; i < s->n_fields; i++)
        if (s->fields[i]->value && s->fields[i]->value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE)
            items[n++] = (struct label){str_from(s->fields[i]->key), str_from(s->fields[i]->value->string_value)};
    labels_sort(items, n);
    r->out->labels = (struct labels){items, n};
}

static void read_names(struct reading *r)
{
    struct node *n = r->out;
    n->service_account = meta(r, "SERVICE_ACCOUNT");
    n->cluster_id = or(meta(r, "CLUSTER_ID"), STR("Kubernetes"));
    n->mesh_id = meta(r, "MESH_ID");
    n->network = meta(r, "NETWORK");
    n->version = meta(r, "ISTIO_VERSION");
    n->workload_name = meta(r, "WORKLOAD_NAME");
    n->node_name = meta(r, "NODE_NAME");
    n->canonical_name = or(labels_get(&n->labels, STR("service.istio.io/canonical-name")), STR("unknown"));
    n->canonical_revision = or(labels_get(&n->labels, STR("service.istio.io/canonical-revision")), STR("latest"));
}

static void read_switches(struct reading *r)
{
    struct node *n = r->out;
    struct str mode = meta(r, "INTERCEPTION_MODE");
    uint64_t port;
    n->interception = str_eq(mode, STR("TPROXY")) ? INTERCEPT_TPROXY : str_eq(mode, STR("NONE")) ? INTERCEPT_NONE : INTERCEPT_REDIRECT;
    if (str_to_u64(meta(r, "HTTP_PROXY_PORT"), &port) && port < 65536)
        n->http_proxy_port = (uint32_t)port;
    n->dns_capture = meta_is(r, "DNS_CAPTURE");
    n->dns_auto_allocate = meta_is(r, "DNS_AUTO_ALLOCATE");
    n->http10 = meta_is(r, "HTTP10");
    n->unprivileged = meta_is(r, "UNPRIVILEGED_POD");
    n->self_discovery = meta_is(r, "ENABLE_SELF_DISCOVERY");
    n->takes_vhds = meta_is(r, "WEFT_VHDS");
    /* Agents of Istio's kind tell their version; who tells none is a plain Envoy. */
    n->takes_istio_filters = n->version.n > 0 && !meta_is(r, "PLAIN_ENVOY");
    if (str_eq(meta(r, "GENERATOR"), STR("grpc")))
        n->type = NODE_GRPC;
}

static void read_locality(struct reading *r)
{
    struct node *n = r->out;
    const Envoy__Config__Core__V3__Locality *l = r->message->locality;
    n->region = l ? str_from(l->region) : STR("");
    n->zone = l ? str_from(l->zone) : STR("");
    n->sub_zone = l ? str_from(l->sub_zone) : STR("");
}

static void renew(struct str *own, struct str by, struct arena *a)
{
    if (!str_eq(*own, by))
        *own = arena_str(a, by);
}

void node_locate(struct node *n, struct arena *a, const struct world *w)
{
    const struct workload *wl = world_workload(w, n->addresses[0]);
    if (!wl || !str_eq(wl->ns, n->ns))
        return;
    renew(&n->region, wl->region, a);
    renew(&n->zone, wl->zone, a);
    renew(&n->sub_zone, wl->sub_zone, a);
}

int node_read(struct arena *a, struct proto_arena *pa, struct str packed, const struct world *w, struct node *out, struct err *err)
{
    ProtobufCMessage *m;
    struct str address = STR("");
    int rc = proto_unpack(pa, &envoy__config__core__v3__node__descriptor, packed, &m, err);
    if (rc)
        return err_prefix(err, "node");
    *out = (struct node){.message = m};
    struct reading r = {a, (const NODE *)m, out, err};
    rc = read_id(&r, &address);
    if (rc == 0)
        rc = read_addresses(&r, address);
    if (rc)
        return rc;
    read_labels(&r);
    read_names(&r);
    read_switches(&r);
    read_locality(&r);
    node_locate(out, a, w);
    return 0;
}

bool node_has_address(const struct node *n, struct str address)
{
    for (uint32_t i = 0; i < n->address_count; i++)
        if (str_eq(n->addresses[i], address))
            return true;
    return false;
}
