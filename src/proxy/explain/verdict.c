/* SPDX-License-Identifier: Apache-2.0
 *
 * The answer in one line: the status that the client most likely sees, and why. Statuses, flags and details are those of
 * the outcome table that answers are made from. Main thread.
 */
#include "http/stream.h"
#include "proxy/explain/explain_priv.h"
#include "proxy/hcm/hcm.h"

static bool is_grpc(const struct explain_report *r)
{
    return r->rehearsal.request && headers_is_grpc_request(r->rehearsal.request);
}

static void say(struct explain_report *r, const struct outcome *o, unsigned status, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void say(struct explain_report *r, const struct outcome *o, unsigned status, const char *fmt, ...)
{
    struct strbuf b = {0};
    char flags[512];
    va_list ap;
    r->status = status;
    if (o) {
        r->flags = o->flag;
        r->details = str_from(o->details);
    }
    if (status && o && is_grpc(r)) { /* trailers-only: the status stands in grpc-status */
        r->grpc_status = o->grpc_status >= 0 ? o->grpc_status : grpc_status_of_http(status);
        r->status = 200;
        strbuf_addf(&b, "grpc-status %d for", r->grpc_status);
    }
    if (status)
        strbuf_addf(&b, "%s%u", b.n ? " " : "", status);
    if (r->flags)
        strbuf_addf(&b, " %.*s", (int)response_flags_format(r->flags, false, flags, sizeof(flags)), flags);
    strbuf_addz(&b, b.n ? ": " : "");
    va_start(ap, fmt);
    strbuf_vaddf(&b, fmt, ap);
    va_end(ap);
    r->verdict = explain_take(r, &b);
}

static void without_http(struct explain_report *r)
{
    if (!r->listener && r->rq->listener.n)
        say(r, NULL, 0, "no listener is called %.*s", STR_ARG(r->rq->listener));
    else if (!r->listener)
        say(r, NULL, 0, "no listener takes this connection: name one (listener) or its address (destination)");
    else if (!r->chain)
        say(r, NULL, 0, "the connection is closed: no filter chain of listener %.*s fits", STR_ARG(r->listener->name));
    else
        say(r, NULL, 0, "no HTTP there: %.*s takes the connection", STR_ARG(r->network_filter));
}

static void without_route(struct explain_report *r)
{
    const struct virtual_host *v = r->decision->vhost;
    if (!v)
        say(r, OUTCOME(ROUTE_NOT_FOUND), 404, "no virtual host for %.*s", STR_ARG(r->host));
    else
        say(r, OUTCOME(ROUTE_NOT_FOUND), 404, "none of the %u routes of virtual host %.*s matches", r->route_count, STR_ARG(v->name));
}

/* Why nobody stands by, from what the endpoints say. */
static struct str plight(struct explain_report *r)
{
    const struct explain_cluster *c = r->cluster;
    struct strbuf b = {0};
    for (uint32_t i = 0; i < c->host_count && i < 4; i++)
        strbuf_addf(&b, "%s%.*s %.*s", i ? "; " : "", STR_ARG(c->hosts[i].address), STR_ARG(c->hosts[i].health));
    if (c->total > 4)
        strbuf_addf(&b, "; and %u more", c->total - 4);
    return explain_take(r, &b);
}

static bool breaker_is_open(struct explain_report *r, const struct explain_breaker *b, const char *note)
{
    if (b->used < b->limit)
        return false;
    say(r, OUTCOME(OVERFLOW), 503, "%s %u reached in cluster %.*s%s", b->name, b->limit, STR_ARG(r->cluster->name), note);
    return true;
}

static void by_cluster(struct explain_report *r)
{
    const struct explain_cluster *c = r->cluster;
    const struct route_entry *e = r->decision->route;
    unsigned missing = e->cluster_not_found_status ? e->cluster_not_found_status : 503;
    if (!c && r->decision->cluster_name.n) {
        say(r, OUTCOME(CLUSTER_NOT_FOUND), missing, "there is no cluster %.*s", STR_ARG(r->decision->cluster_name));
        return;
    }
    if (!c) {
        say(r, OUTCOME(CLUSTER_NOT_FOUND), missing, "%s", e->cluster_header.n ? "the request names no cluster" : "the route has no cluster");
        return;
    }
    uint32_t drop = cluster_drop_per_million(r->decision->cluster);
    const struct explain_breaker *b = c->breakers[e->priority];
    if (drop >= 1000000)
        say(r, OUTCOME(DROP_ALL), 503, "cluster %.*s drops all requests (drop_overload)", STR_ARG(c->name));
    else if (!c->is_open_ended && !c->total)
        say(r, OUTCOME(NO_HEALTHY), 503, "cluster %.*s has no endpoints", STR_ARG(c->name));
    else if (!c->is_open_ended && !c->stand_by)
        say(r, OUTCOME(NO_HEALTHY), 503, "none of the %u endpoint%s of cluster %.*s stands by: %.*s", c->total, c->total == 1 ? "" : "s",
            STR_ARG(c->name), STR_ARG(plight(r)));
    else if (breaker_is_open(r, &b[2], "") || breaker_is_open(r, &b[1], ", unless a connection stands idle"))
        return;
    else if (c->is_open_ended)
        say(r, NULL, 0, "200 likely from an endpoint that %s of cluster %.*s finds", c->policy, STR_ARG(c->name));
    else
        say(r, NULL, 0, "200 likely from one of %u endpoint%s of cluster %.*s", c->stand_by, c->stand_by == 1 ? "" : "s", STR_ARG(c->name));
}

/* The first filter that says so answers. */
static bool by_filter(struct explain_report *r)
{
    for (uint32_t i = 0; i < r->filter_count; i++) {
        const struct explain_filter *f = &r->filters[i];
        if (!f->answer)
            continue;
        say(r, f->answer, f->status, "filter %.*s answers (%.*s)", STR_ARG(f->name), STR_ARG(f->details));
        r->details = f->details;
        return true;
    }
    return false;
}

static void warn_of_filters(struct explain_report *r)
{
    struct strbuf b = {0};
    for (uint32_t i = 0; i < r->filter_count; i++)
        if (!r->filters[i].is_off && r->filters[i].effect)
            strbuf_addf(&b, "%s%.*s", b.n ? ", " : "", STR_ARG(r->filters[i].name));
    if (b.n)
        explain_note(r, &r->warnings, STR("filters"), "aren't run here; these may decide otherwise: %.*s", (int)b.n, b.p);
    strbuf_fini(&b);
    if (r->cluster)
        for (uint32_t i = 0; i < r->cluster->priority_count; i++)
            if (r->cluster->priorities[i].panic)
                explain_note(r, &r->warnings, STR("panic"), "priority %u has too few healthy endpoints: all are used", i);
}

void explain_verdict(struct explain_report *r)
{
    const struct rehearsal *reh = &r->rehearsal;
    if (r->arena->overflowed)
        explain_note(r, &r->warnings, STR("answer"), "is cut: it took more than %u MiB", EXPLAIN_ARENA_BYTES >> 20);
    if (r->closed_by.p) {
        say(r, NULL, 0, "network filter %.*s closes the connection (%.*s)", STR_ARG(r->closed_by), STR_ARG(r->closed_details));
        return;
    }
    if (!r->hcm) {
        without_http(r);
        return;
    }
    if (r->rq->says_transport && r->rq->is_tls != (r->chain->tls != NULL)) {
        say(r, NULL, 0, "the connection fails: %s", r->rq->is_tls ? "it begins with TLS, the filter chain speaks in the clear"
                                                                  : "it is in the clear, the filter chain speaks TLS");
        return;
    }
    if (reh->answer) {
        r->location = reh->location;
        say(r, reh->answer, reh->status, "the connection manager answers (%.*s)", STR_ARG(reh->details));
        return;
    }
    warn_of_filters(r);
    if (by_filter(r))
        return;
    if (!r->decision || (!r->decision->route && !r->decision->needs_tls))
        without_route(r);
    else if (r->decision->needs_tls)
        say(r, OUTCOME(DIRECT_RESPONSE), 301, "virtual host %.*s wants TLS, redirect to %.*s", STR_ARG(r->decision->vhost->name),
            STR_ARG(r->location));
    else if (r->decision->route->action == ROUTE_REDIRECT)
        say(r, OUTCOME(DIRECT_RESPONSE), r->own_status, "redirect to %.*s", STR_ARG(r->location));
    else if (r->decision->route->action == ROUTE_DIRECT_RESPONSE)
        say(r, OUTCOME(DIRECT_RESPONSE), r->own_status, "direct response of the route, %zu bytes", r->decision->route->direct_body.n);
    else
        by_cluster(r);
}
