/* SPDX-License-Identifier: Apache-2.0
 *
 * The answer as text for a person at a terminal: the verdict first, then the stations in the order of the request's road.
 * What was taken stands at the margin, what wasn't is indented below it. Pure.
 */
#include "proxy/explain/explain.h"

#define LABEL_WIDTH 14

/* ---- lines ---- */

/* Columns, not bytes: continuation bytes of UTF-8 take no room. */
static void pad(struct strbuf *out, struct str label, size_t width)
{
    size_t n = 0;
    strbuf_adds(out, label);
    for (size_t i = 0; i < label.n; i++)
        n += ((unsigned char)label.p[i] & 0xc0) != 0x80;
    do
        strbuf_addc(out, ' ');
    while (++n < width);
}

static void head(struct strbuf *out, const char *label)
{
    pad(out, str_from(label), LABEL_WIDTH);
}

static void row(struct strbuf *out, struct str label, struct str text)
{
    strbuf_addz(out, "  ");
    pad(out, label, LABEL_WIDTH + 10);
    strbuf_adds(out, text);
    strbuf_addc(out, '\n');
}

static void left_out(struct strbuf *out, uint32_t n)
{
    if (n)
        strbuf_addf(out, "  … and %u more\n", n);
}

static void list(struct strbuf *out, const char *title, const struct explain_list *l)
{
    if (!l->count)
        return;
    if (title) {
        strbuf_addz(out, title);
        strbuf_addc(out, '\n');
    }
    for (uint32_t i = 0; i < l->count; i++)
        row(out, l->items[i].name, l->items[i].text);
    left_out(out, l->left_out);
}

static void others(struct strbuf *out, const struct explain_list *l)
{
    for (uint32_t i = 0; i < l->count; i++) {
        strbuf_addz(out, "  not ");
        pad(out, l->items[i].name, LABEL_WIDTH + 6);
        strbuf_adds(out, l->items[i].text);
        strbuf_addc(out, '\n');
    }
    left_out(out, l->left_out);
}

static void name_and_why(struct strbuf *out, const char *label, struct str name, struct str why)
{
    head(out, label);
    strbuf_addf(out, "%.*s", STR_ARG(name));
    if (why.n)
        strbuf_addf(out, " (%.*s)", STR_ARG(why));
    strbuf_addc(out, '\n');
}

/* ---- stations ---- */

static void question(struct strbuf *out, const struct explain_report *r)
{
    const struct explain_request *rq = r->rq;
    strbuf_addf(out, "%.*s %.*s://%.*s%.*s\n→ %.*s\n\n", STR_ARG(rq->method), STR_ARG(rq->scheme), STR_ARG(rq->authority), (int)rq->path.n,
                rq->path.p ? rq->path.p : "", STR_ARG(r->verdict));
    list(out, "but note", &r->warnings);
}

static void connection(struct strbuf *out, const struct explain_report *r)
{
    list(out, "assumed", &r->assumed);
    if (r->listener)
        name_and_why(out, "listener", r->listener->name, r->listener_why);
    else
        strbuf_addz(out, "listener      none\n");
    others(out, &r->listeners);
    if (!r->listener)
        return;
    if (r->chain)
        name_and_why(out, "filter chain", r->chain_name, r->chain_why);
    else
        strbuf_addz(out, "filter chain  none\n");
    others(out, &r->chains);
    list(out, NULL, &r->prologue);
    if (r->network_filter.n && !r->hcm)
        name_and_why(out, "terminal", r->network_filter, STR_NULL);
    if (r->hcm)
        name_and_why(out, "HTTP", r->hcm->stat_prefix, STR_NULL);
    list(out, NULL, &r->shaped);
}

static void virtual_host(struct strbuf *out, const struct explain_report *r)
{
    if (r->scope.n)
        name_and_why(out, "scope", r->scope, STR_NULL);
    if (r->route_config.n)
        name_and_why(out, "route config", r->route_config, STR_NULL);
    head(out, "virtual host");
    if (r->decision->vhost)
        strbuf_addf(out, "%.*s (asked for %.*s, found by %.*s)\n", STR_ARG(r->decision->vhost->name), STR_ARG(r->host), STR_ARG(r->domain));
    else
        strbuf_addf(out, "none for %.*s\n", STR_ARG(r->host));
    others(out, &r->near);
}

static void refused_route(struct strbuf *out, const struct explain_refused *f)
{
    struct strbuf label = {0};
    strbuf_addf(&label, "%u %.*s", f->index, STR_ARG(f->name));
    strbuf_addz(out, "  not ");
    pad(out, strbuf_str(&label), LABEL_WIDTH + 6);
    strbuf_addf(out, "%.*s: wants %.*s, the request has %.*s\n", STR_ARG(f->part), STR_ARG(f->wanted), STR_ARG(f->seen));
    strbuf_fini(&label);
}

static void route(struct strbuf *out, const struct explain_report *r)
{
    const struct route_entry *e = r->decision->route;
    struct strbuf path = {0};
    if (!r->decision->vhost || r->decision->needs_tls) {
        list(out, "says", &r->says);
        return;
    }
    head(out, "route");
    if (e) {
        route_match_path_text(&e->match, &path);
        strbuf_addf(out, "%u of %u %.*s (%.*s)\n", r->route_index, r->route_count, STR_ARG(e->name), (int)path.n, path.p);
    } else {
        strbuf_addf(out, "none of %u\n", r->route_count);
    }
    strbuf_fini(&path);
    for (uint32_t i = 0; i < r->refused_shown; i++)
        refused_route(out, &r->refused[i]);
    if (r->refused_shown < r->refused_total) {
        strbuf_addf(out, "  … %u of the %u before it are shown; they refused by", r->refused_shown, r->refused_total);
        for (uint32_t i = 0; i < r->refused_parts.count; i++)
            strbuf_addf(out, "%s %.*s %.*s", i ? "," : "", STR_ARG(r->refused_parts.items[i].name), STR_ARG(r->refused_parts.items[i].text));
        strbuf_addc(out, '\n');
    }
    list(out, "says", &r->says);
    list(out, "shares", &r->shares);
    list(out, r->own_status ? "answer headers" : "headers upstream", &r->edits);
}

static void filters(struct strbuf *out, const struct explain_report *r)
{
    if (r->filter_count)
        strbuf_addz(out, "filters\n");
    for (uint32_t i = 0; i < r->filter_count; i++) {
        const struct explain_filter *f = &r->filters[i];
        strbuf_addz(out, "  ");
        pad(out, f->name, LABEL_WIDTH + 30);
        strbuf_addz(out, f->is_off ? "off" : "runs");
        if (f->why.n)
            strbuf_addf(out, ", %.*s", STR_ARG(f->why));
        for (uint32_t k = 0; k < f->level_count; k++)
            strbuf_addf(out, "%s%s", k ? ", " : "; settings of its ", f->levels[k]);
        if (f->effect && !f->is_off)
            strbuf_addf(out, "; %s", f->effect);
        if (f->answer)
            strbuf_addf(out, "; answers %u", f->status);
        strbuf_addc(out, '\n');
        for (uint32_t k = 0; k < f->says.count; k++)
            strbuf_addf(out, "    %.*s\n", STR_ARG(f->says.items[k].text));
    }
}

static void breakers(struct strbuf *out, const struct explain_report *r)
{
    static const char *const names[ROUTING_PRIORITIES] = {"default", "high"};
    unsigned used = r->decision->route ? r->decision->route->priority : PRIORITY_DEFAULT;
    for (unsigned p = 0; p < ROUTING_PRIORITIES; p++) {
        const struct explain_breaker *b = r->cluster->breakers[p];
        strbuf_addf(out, "  breakers, %s%s:", names[p], p == used ? " (this route's)" : "");
        for (int i = 0; i < EXPLAIN_BREAKERS; i++) {
            strbuf_addf(out, "%s %s %u", i ? "," : "", b[i].name, b[i].used);
            if (b[i].limit == UINT32_MAX)
                strbuf_addz(out, " (no limit)");
            else
                strbuf_addf(out, " of %u%s", b[i].limit, b[i].used >= b[i].limit ? " REACHED" : "");
        }
        strbuf_addc(out, '\n');
    }
}

static void endpoint(struct strbuf *out, const struct explain_host *h)
{
    strbuf_addz(out, h->stands_by ? "  + " : "  - ");
    pad(out, h->address, 22);
    strbuf_addf(out, "%.*s%s; weight %u, priority %u", STR_ARG(h->health), h->is_tls ? ", over TLS" : "", h->weight, h->priority);
    if (h->locality.n)
        strbuf_addf(out, ", %.*s", STR_ARG(h->locality));
    strbuf_addf(out, "; %u requests and %u connections now, %u answered well, %u badly", h->active, h->connections, h->successes, h->errors);
    if (h->ejection.n)
        strbuf_addf(out, "; ejected: %.*s", STR_ARG(h->ejection));
    if (h->hostname.n)
        strbuf_addf(out, "; %.*s", STR_ARG(h->hostname));
    strbuf_addc(out, '\n');
}

static void cluster(struct strbuf *out, const struct explain_report *r)
{
    const struct explain_cluster *c = r->cluster;
    if (!c)
        return;
    head(out, "cluster");
    strbuf_addf(out, "%.*s (%s, %s%s%s)\n", STR_ARG(c->name), c->type, c->policy, c->child ? " over " : "", c->child ? c->child : "");
    list(out, NULL, &c->facts);
    breakers(out, r);
    for (uint32_t i = 0; i < c->priority_count; i++) {
        const struct explain_priority *p = &c->priorities[i];
        strbuf_addf(out, "  priority %u: %u endpoints, %u healthy, %u degraded, %u excluded; %u %% of the traffic%s\n", i, p->total, p->healthy,
                    p->degraded, p->excluded, p->load_pct, p->panic ? "; in panic" : "");
    }
    strbuf_addf(out, "endpoints     %u of %u stand by\n", c->stand_by, c->total);
    for (uint32_t i = 0; i < c->host_count; i++)
        endpoint(out, &c->hosts[i]);
    left_out(out, c->hosts_left_out);
}

void explain_text(const struct explain_report *r, struct strbuf *out)
{
    question(out, r);
    connection(out, r);
    if (!r->decision)
        return;
    virtual_host(out, r);
    route(out, r);
    filters(out, r);
    cluster(out, r);
}
