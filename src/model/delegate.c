/* SPDX-License-Identifier: Apache-2.0
 *
 * Delegates merged into their roots (Istio: "Virtual Service", delegate): each of a delegate's routes with what the root's route asks
 * for besides, its matches narrowed by the root's. What contradicts the root is left out, as are delegates that aren't there or
 * aren't exported to the root's namespace. One level.
 */
#include "model/scope_priv.h"

#include "istio/networking/virtual_service.pb-c.h"

#define VIRTUAL Istio__Networking__V1alpha3__VirtualService
#define ROUTE Istio__Networking__V1alpha3__HTTPRoute
#define MATCH Istio__Networking__V1alpha3__HTTPMatchRequest
#define TEXT Istio__Networking__V1alpha3__StringMatch
#define DESTINATION Istio__Networking__V1alpha3__Destination
#define IS(x_) ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_##x_

/* ---- contradictions ---- */

static const char *text_of(const TEXT *m)
{
    switch (m->match_type_case) {
    case IS(EXACT):
        return m->exact;
    case IS(PREFIX):
        return m->prefix;
    case IS(REGEX):
        return m->regex;
    default:
        return "";
    }
}

/* May the leaf's match not be held to be within the root's? Patterns can't be compared. */
static bool texts_contradict(const TEXT *root, const TEXT *leaf)
{
    if (!root || !leaf || !root->match_type_case || !leaf->match_type_case)
        return false;
    if (root->match_type_case == IS(REGEX) || leaf->match_type_case == IS(REGEX))
        return true;
    struct str r = str_from(text_of(root)), l = str_from(text_of(leaf));
    if (root->match_type_case == IS(EXACT))
        return leaf->match_type_case != IS(EXACT) || !str_eq(r, l);
    return !str_has_prefix(l, r);
}

/* Of two maps with texts to match; the entries' types differ in their names alone. */
#define ENTRIES_CONTRADICT(root_, leaf_, field_)                                                                                    \
    ({                                                                                                                              \
        bool contradict_ = false;                                                                                                   \
        for (size_t i_ = 0; i_ < (leaf_)->n_##field_; i_++)                                                                         \
            for (size_t k_ = 0; k_ < (root_)->n_##field_; k_++)                                                                     \
                contradict_ |= strcmp((leaf_)->field_[i_]->key, (root_)->field_[k_]->key) == 0 &&                                   \
                               texts_contradict((root_)->field_[k_]->value, (leaf_)->field_[i_]->value);                            \
        contradict_;                                                                                                                \
    })

static bool labels_contradict(const MATCH *root, const MATCH *leaf)
{
    for (size_t i = 0; i < leaf->n_source_labels; i++)
        for (size_t k = 0; k < root->n_source_labels; k++)
            if (strcmp(leaf->source_labels[i]->key, root->source_labels[k]->key) == 0 &&
                strcmp(leaf->source_labels[i]->value, root->source_labels[k]->value) != 0)
                return true;
    return false;
}

static bool has_text(char *const *all, size_t count, const char *one)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(all[i], one) == 0)
            return true;
    return false;
}

static bool gateways_contradict(const MATCH *root, const MATCH *leaf)
{
    for (size_t i = 0; root->n_gateways && i < leaf->n_gateways; i++)
        if (!has_text(root->gateways, root->n_gateways, leaf->gateways[i]))
            return true;
    return false;
}

static bool matches_contradict(const MATCH *root, const MATCH *leaf)
{
    return texts_contradict(root->uri, leaf->uri) || texts_contradict(root->scheme, leaf->scheme) ||
           texts_contradict(root->method, leaf->method) || texts_contradict(root->authority, leaf->authority) ||
           ENTRIES_CONTRADICT(root, leaf, headers) || ENTRIES_CONTRADICT(root, leaf, without_headers) ||
           ENTRIES_CONTRADICT(root, leaf, query_params) || root->ignore_uri_case != leaf->ignore_uri_case ||
           (root->port && leaf->port && root->port != leaf->port) ||
           (root->source_namespace[0] && leaf->source_namespace[0] && strcmp(root->source_namespace, leaf->source_namespace) != 0) ||
           labels_contradict(root, leaf) || gateways_contradict(root, leaf);
}

/* ---- joining ---- */

/* "root-delegate"; either alone. */
static char *name_joined(struct proto_arena *pa, const char *root, const char *leaf)
{
    struct strbuf b = {0};
    strbuf_addf(&b, "%s%s%s", root, *root && *leaf ? "-" : "", leaf);
    char *name = proto_arena_strdup(pa, strbuf_str(&b));
    strbuf_fini(&b);
    return name;
}

/* The leaf's entries, then those of the root that it hasn't. */
#define JOIN_ENTRIES(pa_, out_, root_, leaf_, field_)                                                                               \
    do {                                                                                                                            \
        size_t n_ = (leaf_)->n_##field_;                                                                                            \
        (out_)->field_ = proto_arena_alloc((pa_), (n_ + (root_)->n_##field_ + 1) * sizeof(*(out_)->field_));                        \
        for (size_t i_ = 0; i_ < (leaf_)->n_##field_; i_++)                                                                         \
            (out_)->field_[i_] = (leaf_)->field_[i_];                                                                               \
        for (size_t i_ = 0; i_ < (root_)->n_##field_; i_++) {                                                                       \
            bool is_told_ = false;                                                                                                  \
            for (size_t k_ = 0; k_ < (leaf_)->n_##field_; k_++)                                                                     \
                is_told_ |= strcmp((leaf_)->field_[k_]->key, (root_)->field_[i_]->key) == 0;                                        \
            if (!is_told_)                                                                                                          \
                (out_)->field_[n_++] = (root_)->field_[i_];                                                                         \
        }                                                                                                                           \
        (out_)->n_##field_ = n_;                                                                                                    \
    } while (0)
#define INHERIT(out_, root_, field_) ((out_)->field_ = (out_)->field_ ? (out_)->field_ : (root_)->field_)

static MATCH *match_joined(struct proto_arena *pa, const MATCH *root, const MATCH *leaf)
{
    MATCH *out = proto_arena_alloc(pa, sizeof(*out));
    *out = *leaf;
    out->name = name_joined(pa, root->name, leaf->name);
    INHERIT(out, root, uri);
    INHERIT(out, root, scheme);
    INHERIT(out, root, method);
    INHERIT(out, root, authority);
    INHERIT(out, root, port);
    out->source_namespace = leaf->source_namespace[0] ? leaf->source_namespace : root->source_namespace;
    out->stat_prefix = leaf->stat_prefix[0] ? leaf->stat_prefix : root->stat_prefix;
    if (leaf->n_gateways == 0) {
        out->gateways = root->gateways;
        out->n_gateways = root->n_gateways;
    }
    JOIN_ENTRIES(pa, out, root, leaf, headers);
    JOIN_ENTRIES(pa, out, root, leaf, without_headers);
    JOIN_ENTRIES(pa, out, root, leaf, query_params);
    JOIN_ENTRIES(pa, out, root, leaf, source_labels);
    return out;
}

/* Each of the leaf's with each of the root's that it doesn't contradict. false: one contradicts all. */
static bool join_matches(struct proto_arena *pa, const ROUTE *root, ROUTE *leaf)
{
    if (root->n_match == 0)
        return true;
    if (leaf->n_match == 0) {
        leaf->match = root->match;
        leaf->n_match = root->n_match;
        return true;
    }
    MATCH **all = proto_arena_alloc(pa, root->n_match * leaf->n_match * sizeof(*all));
    size_t n = 0;
    for (size_t i = 0; i < leaf->n_match; i++) {
        size_t before = n;
        for (size_t k = 0; k < root->n_match; k++)
            if (!matches_contradict(root->match[k], leaf->match[i]))
                all[n++] = match_joined(pa, root->match[k], leaf->match[i]);
        if (n == before)
            return false;
    }
    leaf->match = all;
    leaf->n_match = n;
    return true;
}

/* Short names mean the delegate's namespace, not the root's. */
static void make_whole(const struct world *w, struct proto_arena *pa, struct str ns, DESTINATION *d)
{
    struct arena scratch;
    if (!d)
        return;
    arena_init(&scratch, 0);
    d->host = proto_arena_strdup(pa, host_whole(&scratch, str_from(d->host), ns, w->domain));
    arena_fini(&scratch);
}

/* The leaf is our own copy. false: it is left out. */
static bool join(const struct world *w, struct proto_arena *pa, const ROUTE *root, struct str ns, ROUTE *leaf)
{
    if (leaf->delegate || !join_matches(pa, root, leaf))
        return false;
    for (size_t i = 0; i < leaf->n_route; i++)
        make_whole(w, pa, ns, leaf->route[i]->destination);
    for (size_t i = 0; i < leaf->n_mirrors; i++)
        make_whole(w, pa, ns, leaf->mirrors[i]->destination);
    make_whole(w, pa, ns, leaf->mirror);
    leaf->name = name_joined(pa, root->name, leaf->name);
    INHERIT(leaf, root, rewrite);
    INHERIT(leaf, root, direct_response);
    INHERIT(leaf, root, timeout);
    INHERIT(leaf, root, retries);
    INHERIT(leaf, root, fault);
    INHERIT(leaf, root, mirror);
    INHERIT(leaf, root, mirror_percent);
    INHERIT(leaf, root, mirror_percentage);
    INHERIT(leaf, root, cors_policy);
    INHERIT(leaf, root, headers);
    if (leaf->n_mirrors == 0) {
        leaf->mirrors = root->mirrors;
        leaf->n_mirrors = root->n_mirrors;
    }
    return true;
}

/* NULL: there is none, or it isn't for the root's namespace. */
static const struct object *delegate_of(const struct world *w, const struct object *root, const ROUTE *r)
{
    struct str ns = r->delegate->namespace_[0] ? str_from(r->delegate->namespace_) : root->ns;
    const struct object *o = store_get(w->store, KIND_VIRTUAL_SERVICE, ns, str_from(r->delegate->name));
    return o && ((const VIRTUAL *)o->body)->n_hosts == 0 && route_is_exported(w, o, root->ns) ? o : NULL;
}

static size_t count_routes(const struct world *w, const struct object *root, bool *has_delegates)
{
    const VIRTUAL *spec = (const VIRTUAL *)root->body;
    size_t n = 0;
    *has_delegates = false;
    for (size_t i = 0; i < spec->n_http; i++) {
        const struct object *o = spec->http[i]->delegate ? delegate_of(w, root, spec->http[i]) : NULL;
        *has_delegates |= spec->http[i]->delegate != NULL;
        n += o ? ((const VIRTUAL *)o->body)->n_http : 1;
    }
    return n;
}

const ProtobufCMessage *route_with_delegates(const struct world *w, const struct object *root, struct proto_arena *pa)
{
    const VIRTUAL *spec = (const VIRTUAL *)root->body;
    bool has_delegates;
    size_t most = count_routes(w, root, &has_delegates);
    if (!has_delegates)
        return root->body;
    VIRTUAL *out = proto_arena_alloc(pa, sizeof(*out));
    *out = *spec;
    out->http = proto_arena_alloc(pa, (most + 1) * sizeof(*out->http));
    out->n_http = 0;
    for (size_t i = 0; i < spec->n_http; i++) {
        if (!spec->http[i]->delegate) {
            out->http[out->n_http++] = spec->http[i];
            continue;
        }
        const struct object *o = delegate_of(w, root, spec->http[i]);
        const VIRTUAL *delegate = o ? (const VIRTUAL *)o->body : NULL;
        for (size_t k = 0; delegate && k < delegate->n_http; k++) {
            ROUTE *leaf = (ROUTE *)proto_clone(pa, &delegate->http[k]->base);
            if (join(w, pa, spec->http[i], o->ns, leaf))
                out->http[out->n_http++] = leaf;
        }
    }
    return &out->base;
}

uint64_t delegates_hash(const ProtobufCMessage *merged)
{
    struct strbuf b = {0};
    proto_pack(merged, &b);
    uint64_t h = hash_text(11, strbuf_str(&b));
    strbuf_fini(&b);
    return h;
}
