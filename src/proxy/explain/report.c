/* SPDX-License-Identifier: Apache-2.0
 *
 * The answer as a whole: the stations in their order, and what they share. A list never grows past its limit; what is left
 * out is counted. When the arena is full, texts are empty and the rest goes on. Main thread.
 */
#include <stdio.h>

#include "proxy/explain/explain_priv.h"

void explain_note(struct explain_report *r, struct explain_list *l, struct str name, const char *fmt, ...)
{
    struct strbuf b = {0};
    va_list ap;
    if (!l->items)
        l->items = arena_zalloc(r->arena, EXPLAIN_LIST_MAX * sizeof(*l->items));
    if (!l->items || l->count == EXPLAIN_LIST_MAX) {
        l->left_out++;
        return;
    }
    va_start(ap, fmt);
    strbuf_vaddf(&b, fmt, ap);
    va_end(ap);
    l->items[l->count++] = (struct explain_item){name, explain_take(r, &b)};
}

struct str explain_take(struct explain_report *r, struct strbuf *b)
{
    struct str s = b->n ? arena_str(r->arena, strbuf_str(b)) : STR("");
    strbuf_fini(b);
    return s;
}

void explain_object(struct explain_report *r, struct explain_list *l, const struct metadata *m)
{
    const struct meta_value *v = metadata_find(m, STR("istio"), &STR("config"), 1);
    if (v && v->kind == META_STRING)
        explain_note(r, l, STR("object"), "%.*s", STR_ARG(v->u.string));
}

static void note_change(struct explain_report *r, struct explain_list *l, struct str name, struct str was, struct str is)
{
    if (!was.p)
        explain_note(r, l, name, "added: %.*s", STR_ARG(is));
    else
        explain_note(r, l, name, "%.*s (was %.*s)", STR_ARG(is), STR_ARG(was));
}

static bool is_first_of_its_name(const struct headers *h, uint32_t at)
{
    for (uint32_t i = 0; i < at; i++)
        if (str_eq(h->items[i].name, h->items[at].name))
            return false;
    return true;
}

void explain_header_changes(struct explain_report *r, struct explain_list *l, const struct headers *before, const struct headers *after)
{
    for (uint32_t i = 0; i < after->count; i++) {
        struct str name = after->items[i].name;
        if (!is_first_of_its_name(after, i))
            continue;
        struct str was = headers_get_joined(before, name, r->arena), is = headers_get_joined(after, name, r->arena);
        if (!was.p || !str_eq(was, is))
            note_change(r, l, name, was, is);
    }
    for (uint32_t i = 0; i < before->count; i++)
        if (is_first_of_its_name(before, i) && !headers_find(after, before->items[i].name))
            explain_note(r, l, before->items[i].name, "removed (was %.*s)",
                         STR_ARG(headers_get_joined(before, before->items[i].name, r->arena)));
}

/* ---- the connection manager ---- */

static struct headers *request_headers(struct explain_report *r)
{
    const struct explain_request *rq = r->rq;
    struct headers *h = arena_zalloc(r->arena, sizeof(*h));
    if (!h)
        return NULL;
    headers_init(h, r->arena);
    headers_add_id_ref(h, HDR_METHOD, rq->method);
    if (rq->path.p)
        headers_add_id_ref(h, HDR_PATH, rq->path);
    if (rq->authority.n)
        headers_add_id_ref(h, HDR_AUTHORITY, rq->authority);
    headers_add_id_ref(h, HDR_SCHEME, rq->scheme);
    for (uint32_t i = 0; i < rq->header_count; i++)
        headers_add_ref(h, rq->headers[i].name, rq->headers[i].value);
    return h;
}

static bool rehearse_it(struct explain_report *r)
{
    struct headers *h = request_headers(r), *before = request_headers(r);
    if (!h || !before)
        return false;
    r->rehearsal = (struct rehearsal){
        .server = r->server,
        .config = r->hcm,
        .listener = r->listener,
        .chain = r->chain,
        .remote = &r->source,
        .local = &r->destination,
        .server_name = r->rq->sni,
        .is_tls = r->chain->tls != NULL,
        .principal = r->chain->tls ? r->rq->principal : STR_NULL,
        .random = r->rq->has_random ? r->rq->random : rng_next(loop_rng(r->server->main_loop)),
        .request = h,
        .arena = r->arena,
    };
    bool whole = rehearse(&r->rehearsal);
    explain_header_changes(r, &r->shaped, before, h);
    return whole;
}

void explain_request(struct explain_report *out, struct server *s, const struct explain_request *rq, struct arena *a)
{
    *out = (struct explain_report){.rq = rq, .server = s, .arena = a, .grpc_status = -1, .details = STR(""), .verdict = STR("")};
    explain_connection(out);
    if (out->hcm && rehearse_it(out) && !out->rehearsal.answer) {
        explain_routing(out);
        explain_action(out);
        explain_filters(out);
        explain_endpoints(out);
    }
    explain_verdict(out);
}

void explain_end(struct explain_report *r)
{
    rehearsal_end(&r->rehearsal);
}
