/* SPDX-License-Identifier: Apache-2.0
 *
 * What the push tells of itself: /debug/syncz in istiod's words, and Prometheus metrics under Istio's names where they mean
 * the same. Main thread.
 */
#include "control/push/push_priv.h"

#include <stdio.h>

static const double bounds[PUSH_BUCKET_COUNT] = PUSH_BUCKETS;

void push_times_add(struct push_times *t, uint64_t us)
{
    int i = 0;
    while (i < PUSH_BUCKET_COUNT && (double)us / 1e6 > bounds[i])
        i++;
    t->buckets[i]++;
    t->count++;
    t->sum_us += us;
}

uint32_t push_proxy_count(const struct push *p)
{
    return p->count;
}

#define EACH_PROXY(it, p) for (const struct list *it = (p)->proxies.next; it != &(p)->proxies; it = it->next)

static const struct push_proxy *proxy_of(const struct list *it)
{
    return LIST_ENTRY((struct list *)(uintptr_t)it, push_proxy, node);
}

static struct push_about about_of(const struct push_proxy *x)
{
    struct push_about about = {0};
    x->push->source->ops->about(x->push->source, x->client, &about);
    return about;
}

const struct xds_server *push_state_of(const struct push *p, struct str proxy_id)
{
    const struct xds_server *found = NULL;
    EACH_PROXY(it, p) {
        const struct push_proxy *x = proxy_of(it);
        if (x->is_open && str_eq(about_of(x).id, proxy_id))
            found = x->server; /* the newest stream of a proxy that came again */
    }
    return found;
}

/* ---- syncz ---- */

static void add_text(struct strbuf *out, const char *key, struct str text)
{
    if (!text.n)
        return;
    strbuf_addf(out, "%s\"%s\":\"", out->p[out->n - 1] == '{' ? "" : ",", key);
    strbuf_add_json(out, text);
    strbuf_addc(out, '"');
}

static void add_nonce(struct strbuf *out, const char *type, const char *what, uint64_t nonce)
{
    char digits[20], key[64];
    snprintf(key, sizeof key, "%s_%s", type, what);
    if (nonce)
        add_text(out, key, str_make(digits, u64_format(nonce, digits)));
}

static void add_type(struct strbuf *out, const struct push_proxy *x, enum push_type type)
{
    /* istiod's words for those that it tells of */
    static const char *const words[PUSH_TYPE_COUNT] = {
        [PUSH_CDS] = "cluster", [PUSH_LDS] = "listener", [PUSH_RDS] = "route", [PUSH_EDS] = "endpoint", [PUSH_ECDS] = "extensionconfig",
        [PUSH_SDS] = "secret", [PUSH_NDS] = "nametable", [PUSH_VHDS] = "virtualhost", [PUSH_PCDS] = "proxyconfig"};
    struct xds_type_state s;
    xds_server_state(x->server, type, &s);
    if (!s.is_asked)
        return;
    add_nonce(out, words[type], "sent", s.sent_nonce);
    add_nonce(out, words[type], "acked", s.acked_nonce);
    add_nonce(out, words[type], "nacked", s.nack_message.n ? s.nacked_nonce : 0);
    char key[64];
    snprintf(key, sizeof key, "%s_error", words[type]);
    add_text(out, key, s.nack_message);
}

static const char *stage_text(const struct push_proxy *x)
{
    if (x->stage == STAGE_WAITING)
        return "waiting for its turn";
    return xds_server_is_settled(x->server) ? "synced" : "pending";
}

void push_syncz(const struct push *p, struct strbuf *json)
{
    bool is_first = true;
    strbuf_addc(json, '[');
    EACH_PROXY(it, p) {
        const struct push_proxy *x = proxy_of(it);
        if (!x->is_open)
            continue;
        struct push_about about = about_of(x);
        strbuf_addz(json, is_first ? "{" : ",{");
        is_first = false;
        add_text(json, "cluster", about.cluster_id);
        add_text(json, "proxy", about.id);
        add_text(json, "proxy_type", about.type);
        add_text(json, "istio_version", about.version);
        for (int t = 0; t < PUSH_TYPE_COUNT; t++)
            add_type(json, x, t);
        add_text(json, "state", str_from(stage_text(x)));
        strbuf_addf(json, ",\"delta\":%s}", x->is_delta ? "true" : "false");
    }
    strbuf_addz(json, "]\n");
}

/* ---- metrics ---- */

static void add_head(struct strbuf *out, const char *name, const char *type, const char *help)
{
    strbuf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_one(struct strbuf *out, const char *name, const char *type, const char *help, uint64_t v)
{
    add_head(out, name, type, help);
    strbuf_addf(out, "%s %llu\n", name, (unsigned long long)v);
}

/* `labels`: "type=\"cds\"," or "". */
static void add_times(struct strbuf *out, const char *name, const char *labels, const struct push_times *t)
{
    uint64_t sum = 0;
    int n = (int)strlen(labels);
    for (int i = 0; i <= PUSH_BUCKET_COUNT; i++) {
        char le[16] = "+Inf";
        sum += t->buckets[i];
        if (i < PUSH_BUCKET_COUNT)
            snprintf(le, sizeof le, "%g", bounds[i]);
        strbuf_addf(out, "%s_bucket{%sle=\"%s\"} %llu\n", name, labels, le, (unsigned long long)sum);
    }
    const char *open = n ? "{" : "", *close = n ? "}" : "";
    strbuf_addf(out, "%s_sum%s%.*s%s %.6f\n", name, open, n ? n - 1 : 0, labels, close, (double)t->sum_us / 1e6);
    strbuf_addf(out, "%s_count%s%.*s%s %llu\n", name, open, n ? n - 1 : 0, labels, close, (unsigned long long)t->count);
}

static void add_whole_times(struct strbuf *out, const char *name, const char *help, const struct push_times *t)
{
    add_head(out, name, "histogram", help);
    add_times(out, name, "", t);
}

static void add_by_type(const struct push *p, struct strbuf *out, const char *name, const char *help, size_t offset)
{
    add_head(out, name, "counter", help);
    for (int t = 0; t < PUSH_TYPE_COUNT; t++) {
        uint64_t v = *(const uint64_t *)((const char *)&p->types[t] + offset);
        if (v)
            strbuf_addf(out, "%s{type=\"%s\"} %llu\n", name, push_type_text(t), (unsigned long long)v);
    }
}

static void add_answer_times(const struct push *p, struct strbuf *out)
{
    char labels[32];
    add_head(out, "pilot_xds_push_time", "histogram", "Seconds from sending configuration of a type to its answer.");
    for (int t = 0; t < PUSH_TYPE_COUNT; t++) {
        snprintf(labels, sizeof labels, "type=\"%s\",", push_type_text(t));
        if (p->types[t].answered.count)
            add_times(out, "pilot_xds_push_time", labels, &p->types[t].answered);
    }
}

void push_metrics(const struct push *p, struct strbuf *out)
{
    struct xds_pool_usage pool = xds_pool_usage(p->pool);
    add_one(out, "pilot_xds", "gauge", "Proxies connected over xDS.", p->count);
    add_by_type(p, out, "pilot_xds_pushes", "Responses sent.", offsetof(struct push_type_counts, pushes));
    add_by_type(p, out, "pilot_total_xds_rejects", "Responses that proxies refused.", offsetof(struct push_type_counts, rejects));
    add_by_type(p, out, "weft_xds_sent_bytes", "Bytes of responses.", offsetof(struct push_type_counts, bytes));
    add_by_type(p, out, "weft_xds_sent_resources", "Resources in responses.", offsetof(struct push_type_counts, resources));
    add_answer_times(p, out);
    add_whole_times(out, "pilot_proxy_convergence_time", "Seconds from a change to the last answer of a proxy that it concerns.", &p->convergence);
    add_whole_times(out, "pilot_proxy_queue_time", "Seconds that a proxy waited for its turn with a first push.", &p->waited);
    add_whole_times(out, "pilot_debounce_time", "Seconds from the first of several changes to their push.", &p->debounced);
    add_one(out, "pilot_pushes", "counter", "Rounds of pushing.", p->refreshes);
    add_one(out, "pilot_inbound_updates", "counter", "Changes that came in.", p->endpoints.changes + p->full.changes);
    add_one(out, "weft_xds_refused_streams", "counter", "Streams refused because there were too many.", p->refused);
    add_one(out, "weft_xds_connections", "counter", "Streams begun.", p->connected_total);
    add_one(out, "weft_xds_resources", "gauge", "Resources held.", pool.items);
    add_one(out, "weft_xds_resource_bytes", "gauge", "Their bytes.", pool.item_bytes);
    add_one(out, "weft_xds_encoded_bytes", "gauge", "Encoded responses held for who needs the same.", pool.kept_bytes);
    add_one(out, "weft_xds_encoded", "counter", "Responses encoded.", pool.encoded);
    add_one(out, "weft_xds_reused", "counter", "Responses found encoded.", pool.reused);
}
