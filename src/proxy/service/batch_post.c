/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches by HTTP POST, each a request of its own. One that fails takes its entries along; its answer's status is all that
 * is looked at. The calling thread's.
 */
#include "proxy/service/batch_priv.h"

#include "proxy/route/header_rules.h"

#define HEAD_BYTES 16384
#define BODY_BYTES_MAX ((size_t)16 << 20)

struct post_batch {
    struct batch_call base;
    struct upstream_call *call;
    uint64_t status;           /* of its answer; 0 none */
};

static void on_headers(void *user, struct headers *h, bool end)
{
    struct post_batch *p = user;
    (void)end;
    str_to_u64(headers_get_id(h, HDR_STATUS), &p->status);
}

static void on_done(void *user, enum stream_reset why, const char *details)
{
    struct post_batch *p = user;
    struct batch_thread *t = p->base.here;
    unsigned accepted = t->batch->o.post->accepted_status;
    p->call = NULL;
    if (why != STREAM_OK) {
        batch_complain(t, "no answer %s", details ? details : "");
        batch_add(t->batch, BATCH_REPORTS_FAILED, 1);
    } else if (accepted ? p->status != accepted : p->status / 100 != 2) {
        batch_complain(t, "refused with status %llu", (unsigned long long)p->status);
        batch_add(t->batch, BATCH_REPORTS_DROPPED, 1);
    } else {
        batch_add(t->batch, BATCH_REPORTS_SENT, 1);
    }
    batch_call_over(&p->base);
}

static const struct upstream_call_handler handler = {.on_headers = on_headers, .on_done = on_done};

static struct str number(struct arena *a, uint64_t v)
{
    return arena_printf(a, "%llu", (unsigned long long)v);
}

static void make_head(struct headers *h, struct arena *a, const struct batch_post *o, const struct cluster *cluster, size_t body_bytes, uint64_t timeout_ms)
{
    static const struct format_context nothing;
    headers_init(h, a);
    headers_add_id_ref(h, HDR_METHOD, STR("POST"));
    headers_add_id_ref(h, HDR_PATH, o->path);
    headers_add_id_ref(h, HDR_AUTHORITY, o->authority);
    headers_add_id_ref(h, HDR_SCHEME, cluster_spec(cluster)->transport->tls ? STR("https") : STR("http"));
    headers_add_id_ref(h, HDR_CONTENT_TYPE, o->content_type);
    headers_add_id_ref(h, HDR_CONTENT_LENGTH, number(a, body_bytes));
    if (o->user_agent.n)
        headers_add_id_ref(h, HDR_USER_AGENT, o->user_agent);
    headers_add_id_ref(h, HDR_ENVOY_INTERNAL, STR("true"));
    if (timeout_ms)
        headers_add_id_ref(h, HDR_ENVOY_EXPECTED_TIMEOUT, number(a, timeout_ms));
    if (o->more)
        header_rules_apply(o->more, h, &nothing, a);
}

static bool post(struct batch_call *c, struct str message)
{
    struct post_batch *p = CONTAINER_OF(c, post_batch, base);
    struct batch *b = c->here->batch;
    const struct batch_post *o = b->o.post;
    struct arena a;
    struct headers h;
    struct buf body = BUF_INIT;
    enum stream_reset why;
    uint64_t timeout_ms = batch_number(&o->timeout_ms);
    struct upstream_call_opts call = {.cluster = cluster_slot_now(o->cluster), .timeout_ms = timeout_ms, .body_limit_bytes = BODY_BYTES_MAX};
    if (!call.cluster) {
        batch_add(b, BATCH_REPORTS_SKIPPED, 1);
        batch_complain(c->here, "cannot be called");
        return false;
    }
    arena_init(&a, HEAD_BYTES);
    make_head(&h, &a, o, call.cluster, message.n, timeout_ms);
    buf_append(&body, message.p, message.n);
    p->call = a.overflowed ? NULL : upstream_call_start(&call, &h, &body, true, &handler, p, &why);
    buf_fini(&body);
    arena_fini(&a);
    if (p->call)
        return true;
    batch_add(b, BATCH_REPORTS_FAILED, 1);
    batch_complain(c->here, "cannot be called");
    return false;
}

static bool end(struct batch_call *c)
{
    (void)c;
    return true;
}

static void cancel(struct batch_call *c)
{
    upstream_call_cancel(&CONTAINER_OF(c, post_batch, base)->call);
}

const struct batch_way batch_by_post = {sizeof(struct post_batch), batch_send_alone, post, end, cancel};
