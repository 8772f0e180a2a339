/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers of our own: from an outcome to headers and body, through the local-reply configuration
 * (mappers, body formats) and the response filters. gRPC requests get a trailers-only answer. When
 * a response has already begun nothing can be said any more: the stream is reset.
 */
#include <stdio.h>

#include "http/grpc.h"
#include "proxy/explain/record.h"
#include "proxy/hcm/exchange.h"

static void add_configured_headers(struct exchange *x, const struct local_reply_mapper *m, struct headers *h)
{
    struct format_context cx = {&x->info, x->request, h, NULL, x->local_body, NULL};
    header_rules_apply(&m->headers_to_add, h, &cx, x->arena);
}

static void format_body(struct exchange *x, const struct format *f, struct str format_type, struct headers *h,
                        struct str *body, struct str *content_type)
{
    struct format_context cx = {&x->info, x->request, h, NULL, *body, NULL};
    struct strbuf text = {0};
    format_run(f, &cx, &text);
    headers_remove_id(h, HDR_CONTENT_TYPE); /* it was that of the body before */
    *body = arena_str(x->arena, strbuf_str(&text));
    *content_type = format_type;
    strbuf_fini(&text);
}

/* The first mapper whose filter passes changes status, body and headers; its format, else the general one, shapes the body. */
void local_reply_rewrite(struct exchange *x, unsigned *status, struct str *body, struct str *content_type,
                         struct headers *h)
{
    const struct local_reply_config *c = &x->config->local_reply;
    const struct format *format = c->body_format;
    struct str format_type = c->content_type;
    x->info.status = (uint16_t)*status;
    x->local_body = *body;
    for (uint32_t i = 0; i < c->mapper_count; i++) {
        const struct local_reply_mapper *m = &c->mappers[i];
        struct format_context cx = {&x->info, x->request, h, NULL, *body, NULL};
        if (m->filter && !log_filter_passes(m->filter, &cx))
            continue;
        if (m->has_status) {
            *status = m->status;
            x->info.status = m->status;
        }
        if (m->has_body)
            *body = m->body;
        x->local_body = *body;
        add_configured_headers(x, m, h);
        if (m->body_format) {
            format = m->body_format;
            format_type = m->content_type;
        }
        break;
    }
    if (format)
        format_body(x, format, format_type, h, body, content_type);
}

static struct str decimal(struct arena *a, uint64_t v)
{
    char *p = arena_bytes(a, 20);
    return p ? str_make(p, u64_format(v, p)) : STR_NULL;
}

static void build_grpc(struct exchange *x, struct headers *h, const struct outcome *o, unsigned status, struct str body)
{
    int grpc = o->grpc_status >= 0 ? o->grpc_status : grpc_status_of_http(status);
    headers_add_id_ref(h, HDR_STATUS, STR("200"));
    headers_set_id_ref(h, HDR_CONTENT_TYPE, STR("application/grpc"));
    headers_add_id_ref(h, HDR_GRPC_STATUS, decimal(x->arena, (uint64_t)grpc));
    if (body.n && body.p[body.n - 1] == '\n') /* JSON formats end their line */
        body.n--;
    if (body.n && !x->is_head)
        headers_add_id_ref(h, HDR_GRPC_MESSAGE, grpc_message_write(x->arena, body));
}

static void build_plain(struct exchange *x, struct headers *h, unsigned status, struct str body,
                        struct str content_type)
{
    headers_add_id_ref(h, HDR_STATUS, decimal(x->arena, status));
    if (body.n) {
        headers_set_id_ref(h, HDR_CONTENT_LENGTH, decimal(x->arena, body.n));
        if (!headers_has_id(h, HDR_CONTENT_TYPE))
            headers_set_id_ref(h, HDR_CONTENT_TYPE, content_type);
    }
}

static void send_reply(struct exchange *x, struct headers *h, struct str body)
{
    uint32_t above = x->slot_count ? x->slot_count - 1 : 0;
    bool with_body = body.n && !x->is_head && !x->is_grpc;
    /* Once filters have seen another response, none is shown this one: a body and its head go the same way. */
    bool direct = chain_response_was_seen(x);
    x->response = h;
    if (direct)
        exchange_send_headers(x, h, !with_body);
    else
        chain_response_headers(x, above, !with_body);
    if (!with_body || x->finished)
        return;
    struct buf data = BUF_INIT;
    buf_append(&data, body.p, body.n);
    if (direct)
        exchange_send_data(x, &data, true);
    else
        chain_response_data(x, above, &data, true);
    buf_fini(&data);
}

/* For the record: the filter at which the request's head stands, or the connection manager. */
static void record_answer(struct exchange *x, unsigned status)
{
    struct str name = STR("connection manager");
    for (uint32_t i = 0; i < x->slot_count; i++)
        if (x->slots[i].request.saw_headers && !x->slots[i].request.passed_headers)
            name = x->config->filters[x->slots[i].f.index].name;
    explain_record_filter(x->info.record, name, "answered", status);
}

void exchange_local_reply(struct exchange *x, const struct outcome *o, unsigned status, struct str body,
                          struct str details, void (*edit)(struct headers *h, void *arg), void *arg)
{
    if (x->rehearsal) {
        rehearsal_note(x, o, status, body, details, edit, arg);
        return;
    }
    if (x->finished || x->in_local_reply)
        return;
    if (x->response_started) {
        exchange_reset(x, o);
        return;
    }
    if (x->info.record)
        record_answer(x, status);
    x->local_reply = true;
    x->in_local_reply = true;
    x->info.flags |= o->flag;
    x->info.details = details.p ? details : str_from(o->details);
    struct headers *h = arena_zalloc(x->arena, sizeof(*h));
    if (!h) { /* the request used up its memory; there is none for an answer either */
        x->in_local_reply = false;
        exchange_reset(x, o);
        return;
    }
    headers_init(h, x->arena);
    /* The route's response headers stand in our answers too, whoever of the chain gives them (Envoy:
     * DownstreamFilterManager); the router gives those of other actions theirs itself. */
    if (x->route_known && x->decision.route && x->decision.route->action == ROUTE_CLUSTER)
        route_edit_response(&x->decision, h, exchange_format_context(x), x->arena);
    if (edit)
        edit(h, arg);
    struct str content_type = STR("text/plain");
    local_reply_rewrite(x, &status, &body, &content_type, h);
    if (x->is_grpc)
        build_grpc(x, h, o, status, body);
    else
        build_plain(x, h, status, body, content_type);
    send_reply(x, h, body);
    x->in_local_reply = false;
}
