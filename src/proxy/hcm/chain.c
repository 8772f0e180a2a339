/* SPDX-License-Identifier: Apache-2.0
 *
 * Iteration through the HTTP filter chain, both ways. Each filter has one hop per direction. A hop
 * that is stopped holds back what arrives (or has the filter take it), and everything behind it
 * waits; continuing a hop hands on headers, held bytes and trailers in that order.
 *
 * Invariants: a filter sees headers before data before trailers, each end once; bytes held at a hop
 * never exceed the exchange's body limit by more than one read: a BUFFER stop past it ends in 413
 * (request) or 500 (response), a WATERMARK stop pauses the sender. A filter may end the exchange in
 * any callback: `finished` or `local_reply` is looked at after each.
 * Runs on the exchange's worker.
 */
#include "base/check.h"
#include "base/mem.h"
#include "proxy/explain/record.h"
#include "proxy/filter/filter_source.h"
#include "proxy/hcm/exchange.h"

#define NO_HOP UINT32_MAX

static void request_data_from(struct exchange *x, uint32_t i, struct buf *data, bool end);
static void request_trailers_from(struct exchange *x, uint32_t i);
static void response_data_from(struct exchange *x, uint32_t i, struct buf *data, bool end);
static void response_trailers_from(struct exchange *x, uint32_t i);

/* What stands at a place of the chain now, kept while the exchange stands. */
static const struct http_filter_spec *spec_at(struct exchange *x, const struct http_filter_spec *spec)
{
    static const struct http_filter_spec missing = {.def = &missing_filter};
    if (!spec->dynamic)
        return spec;
    struct filter_config *now = filter_source_now(spec->dynamic);
    return now && exchange_keep(x, &now->base) ? &now->spec : &missing;
}

void chain_init(struct exchange *x)
{
    const struct hcm_config *c = x->config;
    x->slots = arena_zalloc(x->arena, sizeof(*x->slots) * c->filter_count);
    if (!x->slots)
        return;
    for (uint32_t i = 0; i < c->filter_count; i++) {
        if (exchange_filter_is_off(x, i))
            continue;
        const struct http_filter_spec *spec = spec_at(x, &c->filters[i]);
        struct filter_slot *slot = &x->slots[x->slot_count];
        slot->f = (struct http_filter){spec->def, spec->config, x, NULL, (uint8_t)i};
        if (spec->def->state_bytes) {
            slot->f.state = arena_zalloc(x->arena, spec->def->state_bytes);
            if (!slot->f.state)
                return;
        }
        x->slot_count++;
        if (spec->def->init)
            spec->def->init(&slot->f);
    }
}

void chain_destroy(struct exchange *x)
{
    for (uint32_t i = 0; i < x->slot_count; i++) {
        struct filter_slot *slot = &x->slots[i];
        if (slot->f.def->on_destroy)
            slot->f.def->on_destroy(&slot->f);
        buf_fini(&slot->request.held);
        buf_fini(&slot->response.held);
    }
}

void chain_complete(struct exchange *x)
{
    for (uint32_t i = 0; i < x->slot_count; i++)
        if (x->slots[i].f.def->on_complete)
            x->slots[i].f.def->on_complete(&x->slots[i].f);
}

/* ---- common ---- */

static bool is_over(const struct exchange *x)
{
    return x->finished || x->local_reply;
}

static void hop_stop(struct hop *hop, enum filter_headers status)
{
    static const uint8_t states[] = {
        [FILTER_HEADERS_CONTINUE] = HOP_OPEN,
        [FILTER_HEADERS_STOP] = HOP_STOPPED,
        [FILTER_HEADERS_STOP_ALL_BUFFER] = HOP_STOPPED_ALL_BUFFER,
        [FILTER_HEADERS_STOP_ALL_WATERMARK] = HOP_STOPPED_ALL_WATERMARK,
    };
    hop->state = states[status];
}

static bool hop_takes_nothing(const struct hop *hop)
{
    return hop->state == HOP_STOPPED_ALL_BUFFER || hop->state == HOP_STOPPED_ALL_WATERMARK;
}

/* ---- requests: down the chain ---- */

static void request_hold(struct exchange *x, struct hop *hop, struct buf *data, bool end, bool watermark)
{
    buf_move(&hop->held, data);
    hop->end |= end;
    if (hop->held.len <= x->body_limit_bytes)
        return;
    if (!watermark) {
        stat_inc(x->config->stats, STAT_HCM_RQ_TOO_LARGE);
        exchange_local_reply(x, OUTCOME(REQUEST_TOO_LARGE), 413, STR("Payload Too Large"), STR_NULL, NULL, NULL);
    } else if (!hop->overfull) {
        hop->overfull = true;
        exchange_pause_request(x, true);
    }
}

static void hop_request_drained(struct exchange *x, struct hop *hop)
{
    if (hop->overfull) {
        hop->overfull = false;
        exchange_pause_request(x, false);
    }
}

static void request_headers_from(struct exchange *x, uint32_t i, bool end)
{
    for (; i < x->slot_count && !is_over(x); i++) {
        struct filter_slot *slot = &x->slots[i];
        enum filter_headers status = FILTER_HEADERS_CONTINUE;
        slot->request.saw_headers = true;
        if (slot->f.def->on_request_headers)
            status = slot->f.def->on_request_headers(&slot->f, x->request, end);
        if (is_over(x))
            return;
        if (status != FILTER_HEADERS_CONTINUE) {
            if (x->info.record && !slot->f.def->is_terminal)
                explain_record_filter(x->info.record, x->config->filters[slot->f.index].name, "waits", 0);
            hop_stop(&slot->request, status);
            slot->request.end |= end;
            return;
        }
        slot->request.passed_headers = true;
        slot->request.passed_end |= end;
    }
}

void chain_request_headers(struct exchange *x, bool end)
{
    request_headers_from(x, 0, end);
}

/* `trailers_at`: the hop behind the one whose filter put trailers to the last bytes, which then aren't the end. */
static void request_data_pass(struct exchange *x, uint32_t i, struct buf *data, bool end, uint32_t *trailers_at)
{
    for (; i < x->slot_count && !is_over(x); i++) {
        struct filter_slot *slot = &x->slots[i];
        struct hop *hop = &slot->request;
        if (hop_takes_nothing(hop)) {
            request_hold(x, hop, data, end, hop->state == HOP_STOPPED_ALL_WATERMARK);
            return;
        }
        enum filter_data status = FILTER_DATA_CONTINUE;
        if (slot->f.def->on_request_data)
            status = slot->f.def->on_request_data(&slot->f, data, end);
        if (is_over(x))
            return;
        if (hop->adds_trailers) {
            hop->adds_trailers = end = false;
            hop->has_trailers = hop->state == HOP_STOPPED || status != FILTER_DATA_CONTINUE; /* they wait here, with the bytes */
            if (!hop->has_trailers)
                *trailers_at = i + 1;
        }
        if (status == FILTER_DATA_CONTINUE && hop->state == HOP_STOPPED) {
            /* It held the headers back until it had seen this: now all goes on together. */
            buf_move(&hop->held, data);
            hop->end |= end;
            exchange_continue_request(&slot->f);
            return;
        }
        if (status != FILTER_DATA_CONTINUE) {
            hop->state = HOP_STOPPED;
            if (status == FILTER_DATA_STOP_NO_BUFFER)
                hop->end |= end;
            else
                request_hold(x, hop, data, end, status == FILTER_DATA_STOP_WATERMARK);
            return;
        }
        hop->passed_end |= end;
    }
}

static void request_data_from(struct exchange *x, uint32_t i, struct buf *data, bool end)
{
    uint32_t trailers_at = NO_HOP;
    request_data_pass(x, i, data, end, &trailers_at);
    if (trailers_at != NO_HOP && !is_over(x))
        request_trailers_from(x, trailers_at);
}

void chain_request_data(struct exchange *x, struct buf *data, bool end)
{
    request_data_from(x, 0, data, end);
}

static void request_trailers_from(struct exchange *x, uint32_t i)
{
    for (; i < x->slot_count && !is_over(x); i++) {
        struct filter_slot *slot = &x->slots[i];
        struct hop *hop = &slot->request;
        if (hop_takes_nothing(hop)) {
            hop->has_trailers = true;
            return;
        }
        enum filter_trailers status = FILTER_TRAILERS_CONTINUE;
        if (slot->f.def->on_request_trailers)
            status = slot->f.def->on_request_trailers(&slot->f, x->request_trailers);
        if (is_over(x))
            return;
        if (status == FILTER_TRAILERS_STOP) {
            hop->state = HOP_STOPPED;
            hop->has_trailers = true;
            return;
        }
        hop->passed_end = true;
        if (hop->state == HOP_STOPPED) {
            hop->has_trailers = true;
            exchange_continue_request(&slot->f);
            return;
        }
    }
}

void chain_request_trailers(struct exchange *x)
{
    request_trailers_from(x, 0);
}

void exchange_continue_request(struct http_filter *f)
{
    struct exchange *x = f->x;
    struct filter_slot *slot = CONTAINER_OF(f, filter_slot, f);
    uint32_t i = (uint32_t)(slot - x->slots);
    struct hop *hop = &slot->request;
    if (is_over(x) || hop->state == HOP_OPEN)
        return;
    bool took_all = hop_takes_nothing(hop);
    hop->state = HOP_OPEN;
    bool held_any = hop->held.len > 0;
    bool end_in_headers = hop->end && !held_any && !hop->has_trailers;
    if (!hop->passed_headers) {
        hop->passed_headers = true;
        request_headers_from(x, i + 1, end_in_headers);
        if (is_over(x))
            return;
        if (end_in_headers) {
            hop->passed_end = true;
            return;
        }
    }
    if (held_any) {
        struct buf data = BUF_INIT;
        buf_move(&data, &hop->held);
        /* What a STOP_ALL kept back hasn't been shown to the filter itself yet. */
        request_data_from(x, took_all ? i : i + 1, &data, hop->end && !hop->has_trailers);
        buf_fini(&data);
        if (is_over(x))
            return;
        hop_request_drained(x, hop);
    } else if (hop->end && !hop->passed_end && !hop->has_trailers) {
        struct buf none = BUF_INIT;
        hop->passed_end = true;
        request_data_from(x, i + 1, &none, true);
    }
    if (hop->has_trailers && hop->state == HOP_OPEN) {
        hop->has_trailers = false;
        request_trailers_from(x, took_all ? i : i + 1);
    }
}

void *exchange_connection_data(struct exchange *x, const void *key, size_t bytes)
{
    struct connection_data *d = x->hc->data;
    while (d && (d->key != key || d->size != bytes)) /* a configuration may come to stand where another one was */
        d = d->next;
    if (!d) {
        d = mem_zalloc(sizeof(*d) + bytes);
        d->key = key;
        d->size = bytes;
        d->next = x->hc->data;
        x->hc->data = d;
    }
    return d->bytes;
}

static struct headers *add_trailers(struct exchange *x, struct hop *hop, struct headers **trailers)
{
    if (!*trailers && (*trailers = arena_zalloc(x->arena, sizeof(**trailers))))
        headers_init(*trailers, x->arena);
    hop->adds_trailers = *trailers != NULL;
    return *trailers;
}

struct headers *exchange_add_request_trailers(struct http_filter *f)
{
    return add_trailers(f->x, &CONTAINER_OF(f, filter_slot, f)->request, &f->x->request_trailers);
}

struct headers *exchange_add_response_trailers(struct http_filter *f)
{
    return add_trailers(f->x, &CONTAINER_OF(f, filter_slot, f)->response, &f->x->response_trailers);
}

uint32_t exchange_filters_alike(struct http_filter *f, struct http_filter **out, uint32_t max)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->x->slot_count && n < max; i++)
        if (f->x->slots[i].f.def == f->def)
            out[n++] = &f->x->slots[i].f;
    return n;
}

void exchange_add_request_data(struct http_filter *f, struct buf *data, bool end)
{
    struct filter_slot *slot = CONTAINER_OF(f, filter_slot, f);
    if (!is_over(f->x))
        request_data_from(f->x, (uint32_t)(slot - f->x->slots) + 1, data, end);
}

struct buf *exchange_request_buffer(struct http_filter *f)
{
    return &CONTAINER_OF(f, filter_slot, f)->request.held;
}

/* ---- responses: up the chain. `from` counts hops still to pass: slot from-1 is next, 0 is the stream ---- */

void exchange_pause_response(struct exchange *x, bool on)
{
    if (x->slot_count) {
        struct http_filter *terminal = &x->slots[x->slot_count - 1].f;
        if (terminal->def->on_downstream_watermark)
            terminal->def->on_downstream_watermark(terminal, on);
    }
}

static void response_hold(struct exchange *x, struct hop *hop, struct buf *data, bool end, bool watermark)
{
    buf_move(&hop->held, data);
    hop->end |= end;
    if (hop->held.len <= x->body_limit_bytes)
        return;
    if (!watermark) {
        stat_inc(x->config->stats, STAT_HCM_RS_TOO_LARGE);
        exchange_local_reply(x, OUTCOME(RESPONSE_TOO_LARGE), 500, STR("Internal Server Error"), STR_NULL, NULL, NULL);
    } else if (!hop->overfull) {
        hop->overfull = true;
        exchange_pause_response(x, true);
    }
}

/* During a local reply the filters still see the response; only the stream's end stops it. */
void chain_response_headers(struct exchange *x, uint32_t from, bool end)
{
    bool local = x->local_reply;
    for (uint32_t n = from; n > 0; n--) {
        struct filter_slot *slot = &x->slots[n - 1];
        struct hop *hop = &slot->response;
        if (hop->saw_headers) /* a local reply after a stopped response: don't show headers twice */
            continue;
        hop->saw_headers = true;
        enum filter_headers status = FILTER_HEADERS_CONTINUE;
        if (slot->f.def->on_response_headers)
            status = slot->f.def->on_response_headers(&slot->f, x->response, end);
        if (x->finished || x->local_reply != local)
            return;
        if (status != FILTER_HEADERS_CONTINUE) {
            hop_stop(hop, status);
            hop->end |= end;
            return;
        }
        hop->passed_headers = true;
    }
    exchange_send_headers(x, x->response, end);
}

static void response_data_pass(struct exchange *x, uint32_t from, struct buf *data, bool end, uint32_t *trailers_at)
{
    bool local = x->local_reply;
    for (uint32_t n = from; n > 0; n--) {
        struct filter_slot *slot = &x->slots[n - 1];
        struct hop *hop = &slot->response;
        if (hop_takes_nothing(hop)) {
            response_hold(x, hop, data, end, hop->state == HOP_STOPPED_ALL_WATERMARK);
            return;
        }
        enum filter_data status = FILTER_DATA_CONTINUE;
        if (slot->f.def->on_response_data)
            status = slot->f.def->on_response_data(&slot->f, data, end);
        if (x->finished || x->local_reply != local)
            return;
        if (hop->adds_trailers) {
            hop->adds_trailers = end = false;
            hop->has_trailers = hop->state == HOP_STOPPED || status != FILTER_DATA_CONTINUE;
            if (!hop->has_trailers)
                *trailers_at = n - 1;
        }
        if (status == FILTER_DATA_CONTINUE && hop->state == HOP_STOPPED) {
            buf_move(&hop->held, data);
            hop->end |= end;
            exchange_continue_response(&slot->f);
            return;
        }
        if (status != FILTER_DATA_CONTINUE) {
            hop->state = HOP_STOPPED;
            if (status == FILTER_DATA_STOP_NO_BUFFER)
                hop->end |= end;
            else
                response_hold(x, hop, data, end, status == FILTER_DATA_STOP_WATERMARK);
            return;
        }
    }
    exchange_send_data(x, data, end);
}

static void response_data_from(struct exchange *x, uint32_t from, struct buf *data, bool end)
{
    uint32_t trailers_at = NO_HOP;
    bool local = x->local_reply;
    response_data_pass(x, from, data, end, &trailers_at);
    if (trailers_at != NO_HOP && !x->finished && x->local_reply == local)
        response_trailers_from(x, trailers_at);
}

static void response_trailers_from(struct exchange *x, uint32_t from)
{
    bool local = x->local_reply;
    for (uint32_t n = from; n > 0; n--) {
        struct filter_slot *slot = &x->slots[n - 1];
        struct hop *hop = &slot->response;
        if (hop_takes_nothing(hop)) {
            hop->has_trailers = true;
            return;
        }
        enum filter_trailers status = FILTER_TRAILERS_CONTINUE;
        if (slot->f.def->on_response_trailers)
            status = slot->f.def->on_response_trailers(&slot->f, x->response_trailers);
        if (x->finished || x->local_reply != local)
            return;
        if (status == FILTER_TRAILERS_STOP || hop->state == HOP_STOPPED) {
            bool go_on = status == FILTER_TRAILERS_CONTINUE;
            hop->state = HOP_STOPPED;
            hop->has_trailers = true;
            if (go_on)
                exchange_continue_response(&slot->f);
            return;
        }
    }
    exchange_send_trailers(x, x->response_trailers);
}

void chain_response_data(struct exchange *x, uint32_t from, struct buf *data, bool end)
{
    response_data_from(x, from, data, end);
}

bool chain_response_was_seen(const struct exchange *x)
{
    for (uint32_t i = 0; i < x->slot_count; i++)
        if (x->slots[i].response.saw_headers)
            return true;
    return false;
}

void exchange_continue_response(struct http_filter *f)
{
    struct exchange *x = f->x;
    struct filter_slot *slot = CONTAINER_OF(f, filter_slot, f);
    uint32_t n = (uint32_t)(slot - x->slots); /* hops left above this one */
    struct hop *hop = &slot->response;
    if (x->finished || hop->state == HOP_OPEN)
        return;
    bool took_all = hop_takes_nothing(hop);
    bool local = x->local_reply;
    hop->state = HOP_OPEN;
    bool held_any = hop->held.len > 0;
    if (!hop->passed_headers) {
        hop->passed_headers = true;
        chain_response_headers(x, n, hop->end && !held_any && !hop->has_trailers);
        if (x->finished || x->local_reply != local)
            return;
    }
    if (held_any) {
        struct buf data = BUF_INIT;
        buf_move(&data, &hop->held);
        response_data_from(x, took_all ? n + 1 : n, &data, hop->end && !hop->has_trailers);
        buf_fini(&data);
        if (x->finished || x->local_reply != local)
            return;
        if (hop->overfull) {
            hop->overfull = false;
            exchange_pause_response(x, false);
        }
    } else if (hop->end && !x->response_end && !hop->has_trailers) {
        struct buf none = BUF_INIT;
        response_data_from(x, n, &none, true);
    }
    if (hop->has_trailers && hop->state == HOP_OPEN) {
        hop->has_trailers = false;
        response_trailers_from(x, took_all ? n + 1 : n);
    }
}

void exchange_add_response_data(struct http_filter *f, struct buf *data, bool end)
{
    struct filter_slot *slot = CONTAINER_OF(f, filter_slot, f);
    if (!f->x->finished)
        response_data_from(f->x, (uint32_t)(slot - f->x->slots), data, end);
}

struct buf *exchange_response_buffer(struct http_filter *f)
{
    return &CONTAINER_OF(f, filter_slot, f)->response.held;
}

/* The terminal filter itself is not on the response's way. */
static uint32_t hops_above_terminal(const struct exchange *x)
{
    return x->slot_count ? x->slot_count - 1 : 0;
}

void exchange_response_informational(struct exchange *x, struct headers *h)
{
    for (uint32_t n = hops_above_terminal(x); n > 0; n--) {
        struct filter_slot *slot = &x->slots[n - 1];
        if (slot->f.def->on_informational &&
            slot->f.def->on_informational(&slot->f, h) != FILTER_HEADERS_CONTINUE)
            return;
        if (is_over(x))
            return;
    }
    if (x->down && !x->response_started) {
        headers_strip_hop_by_hop(h, false);
        uint64_t status = 0;
        str_to_u64(headers_get_id(h, HDR_STATUS), &status);
        hcm_count_response(x->hc, (unsigned)status);
        stream_send_informational(x->down, h);
    }
}

void exchange_respond_headers(struct exchange *x, struct headers *h, bool end)
{
    if (is_over(x))
        return;
    x->response = h;
    chain_response_headers(x, hops_above_terminal(x), end);
}

void exchange_respond_data(struct exchange *x, struct buf *data, bool end)
{
    if (!is_over(x))
        response_data_from(x, hops_above_terminal(x), data, end);
}

void exchange_respond_trailers(struct exchange *x, struct headers *h)
{
    if (is_over(x))
        return;
    x->response_trailers = h;
    response_trailers_from(x, hops_above_terminal(x));
}

void chain_downstream_watermark(struct exchange *x, bool above)
{
    for (uint32_t i = 0; i < x->slot_count && !x->finished; i++) {
        struct filter_slot *slot = &x->slots[i];
        if (slot->f.def->on_downstream_watermark)
            slot->f.def->on_downstream_watermark(&slot->f, above);
    }
}
