/* SPDX-License-Identifier: Apache-2.0
 *
 * Decision records (record.h). Fields are "name=text", parted by "; ". What doesn't fit is left out from there on, and the
 * line ends with "…": a record never grows and never fails a request. Values of the request are shown as text for people,
 * but for credentials; bytes that would break a line are replaced. On the exchange's worker.
 */
#include "proxy/explain/record.h"

#include <stdio.h>

#include "proxy/cluster/host.h"
#include "proxy/route/explain.h"

#define HOST_BYTES 256
#define ENDING "…"
#define ROUTES_ASKED_MAX 2000 /* routes asked for their reasons on a worker: a fraction of a millisecond */

struct explain_record {
    size_t n;
    bool full;
    char text[EXPLAIN_RECORD_BYTES];
};

/* ---- writing ---- */

static void add_raw(struct explain_record *r, struct str s)
{
    size_t room = sizeof(r->text) - r->n - STR(ENDING).n;
    if (r->full)
        return;
    if (s.n > room) { /* not into the middle of a character */
        while (room && ((unsigned char)s.p[room] & 0xc0) == 0x80)
            room--;
        s.n = room;
        r->full = true;
    }
    for (size_t i = 0; i < s.n; i++)
        r->text[r->n++] = (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f ? ' ' : s.p[i];
    if (r->full) {
        memcpy(r->text + r->n, ENDING, STR(ENDING).n);
        r->n += STR(ENDING).n;
    }
}

static void add_field(struct explain_record *r, const char *name, struct str text)
{
    add_raw(r, r->n ? STR("; ") : STR(""));
    add_raw(r, str_from(name));
    add_raw(r, STR("="));
    add_raw(r, text);
}

static void add_number(struct explain_record *r, uint64_t v)
{
    char digits[20];
    add_raw(r, str_make(digits, u64_format(v, digits)));
}

struct str explain_record_text(const struct explain_record *r)
{
    return str_make(r->text, r->n);
}

/* ---- the road ---- */

struct explain_record *explain_record_begin(struct arena *a, const struct headers *request, const struct stream_info *info,
                                            struct str listener)
{
    if (!str_eq(headers_get(request, STR("x-weft-explain")), STR("1")))
        return NULL;
    struct explain_record *r = arena_alloc(a, sizeof(*r));
    if (!r)
        return NULL;
    r->n = 0;
    r->full = false;
    add_field(r, "listener", listener);
    if (info->filter_chain_name.n)
        add_field(r, "chain", info->filter_chain_name);
    return r;
}

/* Credentials never reach a log. */
static bool is_secret(const struct route_match *m, enum route_refusal why, uint32_t item)
{
    static const struct str names[] = {{"authorization", 13}, {"cookie", 6}, {"proxy-authorization", 19}};
    if (why == ROUTE_REFUSED_COOKIE)
        return true;
    for (size_t i = 0; why == ROUTE_REFUSED_HEADER && i < sizeof(names) / sizeof(names[0]); i++)
        if (str_eq(m->headers[item].name, names[i]))
            return true;
    return false;
}

static void add_refusal(struct explain_record *r, const struct route_entry *e, const struct route_request *rq, uint32_t at,
                        enum route_refusal why, uint32_t item, struct strbuf *text)
{
    strbuf_reset(text);
    strbuf_addf(text, "%.*s[%u] ", STR_ARG(e->name), at);
    route_refusal_part(why, item, text);
    strbuf_addz(text, " wants ");
    route_refusal_wanted(&e->match, why, item, text);
    strbuf_addz(text, " has ");
    if (is_secret(&e->match, why, item))
        strbuf_addz(text, "(hidden)");
    else
        route_refusal_seen(&e->match, rq, why, item, text);
    add_raw(r, strbuf_str(text));
}

/* Of the routes before the one taken, those whose path fits tell most; without any, the first ones. */
static void add_refused(struct explain_record *r, struct route_entry *const *list, uint32_t end, const struct route_request *rq, bool ignore)
{
    struct strbuf text = {0};
    uint32_t shown = 0, item;
    add_field(r, "refused", STR_NULL);
    add_number(r, end);
    for (int paths = 0; paths < 2; paths++)
        for (uint32_t i = 0; i < end && i < ROUTES_ASKED_MAX && shown < EXPLAIN_RECORD_REFUSED && !r->full; i++) {
            enum route_refusal why = route_match_refusal(&list[i]->match, rq, ignore, &item);
            if (why == ROUTE_TAKEN || (why == ROUTE_REFUSED_PATH) != (paths == 1))
                continue;
            add_raw(r, shown++ ? STR(", ") : STR(": "));
            add_refusal(r, list[i], rq, i, why, item, &text);
        }
    strbuf_fini(&text);
}

static void add_route(struct explain_record *r, const struct route_request *rq, const struct route_decision *d)
{
    uint32_t n, at;
    struct route_entry *const *list = route_candidates(d->vhost, rq, &n);
    for (at = 0; at < n && list[at] != d->route; at++)
        ;
    add_field(r, "route", d->route ? d->route->name : STR("none"));
    if (d->route) {
        add_raw(r, STR("["));
        add_number(r, at);
        add_raw(r, STR("]"));
    }
    if (at)
        add_refused(r, list, at, rq, d->vhost->config && d->vhost->config->ignore_path_parameters);
}

void explain_record_decision(struct explain_record *r, const struct route_config_spec *spec, const struct route_request *rq,
                             const struct route_decision *d)
{
    char text[HOST_BYTES];
    struct str host = spec ? route_host_asked(spec, rq->headers, text, sizeof(text)) : STR_NULL;
    add_field(r, "virtual_host", d->vhost ? d->vhost->name : STR("none"));
    add_raw(r, STR(" for "));
    add_raw(r, host);
    if (!d->vhost)
        return;
    add_raw(r, STR(" by "));
    add_raw(r, virtual_host_domain(d->vhost, host));
    if (d->needs_tls) {
        add_field(r, "require_tls", STR("not met"));
        return;
    }
    add_route(r, rq, d);
    if (d->cluster_name.n)
        add_field(r, "cluster", d->cluster_name);
    if (d->cluster_name.n && !d->cluster)
        add_raw(r, STR(" (unknown)"));
}

void explain_record_filter(struct explain_record *r, struct str name, const char *what, unsigned status)
{
    add_field(r, "filter", name);
    add_raw(r, STR(" "));
    add_raw(r, str_from(what));
    if (status) {
        add_raw(r, STR(" "));
        add_number(r, status);
    }
}

void explain_record_note(struct explain_record *r, struct str filter, struct str text)
{
    add_field(r, "filter", filter);
    add_raw(r, STR(": "));
    add_raw(r, text);
}

void explain_record_attempt(struct explain_record *r, const struct host *h, unsigned status, uint32_t flags, uint64_t took_us)
{
    char text[ADDR_TEXT_BYTES], names[512];
    add_field(r, "attempt", str_from(addr_text(&h->addr, text)));
    add_raw(r, STR(" "));
    if (status)
        add_number(r, status);
    else
        add_raw(r, STR("no answer"));
    if (flags) {
        add_raw(r, STR(" "));
        add_raw(r, str_make(names, response_flags_format(flags, false, names, sizeof(names))));
    }
    snprintf(text, sizeof(text), " %.1f ms", (double)took_us / 1000);
    add_raw(r, str_from(text));
}

void explain_record_finish(struct explain_record *r, struct stream_info *info, struct arena *a)
{
    char names[512];
    add_field(r, "status", STR_NULL);
    add_number(r, info->status);
    if (info->flags)
        add_field(r, "flags", str_make(names, response_flags_format(info->flags, false, names, sizeof(names))));
    if (info->details.n)
        add_field(r, "details", info->details);
    const struct meta_value text = {.kind = META_STRING, .u.string = explain_record_text(r)};
    metadata_set(&info->metadata, a, STR("weft.explain"), STR("record"), &text);
}
