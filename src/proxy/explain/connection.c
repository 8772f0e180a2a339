/* SPDX-License-Identifier: Apache-2.0
 *
 * Which listener takes the connection, and which of its filter chains. The chain is chosen by the listener's own index, the
 * reasons are the index's; what listener filters would find out is put in only where the listener has them. Main thread.
 */
#include "http/codec/uri.h"
#include "proxy/explain/explain_priv.h"
#include "proxy/filter/filter_source.h"
#include "proxy/listener/listener_filter.h"

/* How well a listener fits, best last. */
enum fit { FIT_NOT, FIT_CAPTURED, FIT_UNBOUND, FIT_WILDCARD, FIT_EXACT };
struct finder {
    struct explain_report *r;
    uint16_t port;       /* asked for; 0 none */
    bool by_address;
    enum fit best;
    uint32_t http_count; /* bound listeners that speak HTTP */
    const struct listener_spec *only;
    struct addr bound, only_bound;
};

static const struct network_filter_spec *terminal_of(const struct filter_chain *c)
{
    return c && c->filter_count ? &c->filters[c->filter_count - 1] : NULL;
}

static bool speaks_http(const struct listener_spec *spec)
{
    const struct network_filter_spec *f = terminal_of(spec->default_chain);
    if (f && f->def == &hcm_filter)
        return true;
    for (uint32_t i = 0; i < spec->chain_count; i++)
        if ((f = terminal_of(spec->chains[i])) && f->def == &hcm_filter)
            return true;
    return false;
}

/* What stands there now, where discovery fills the place. */
static const struct listener_filter_def *listener_filter_def_of(const struct listener_filter_spec *f)
{
    const struct filter_config *now = f->dynamic ? filter_source_now(f->dynamic) : NULL;
    return now ? now->listener.def : f->def;
}

static const struct network_filter_spec *network_filter_of(const struct network_filter_spec *f)
{
    const struct filter_config *now = f->dynamic ? filter_source_now(f->dynamic) : NULL;
    return now ? &now->network : f;
}

static bool has_listener_filter(const struct listener_spec *spec, const struct listener_filter_def *def)
{
    for (uint32_t i = 0; i < spec->listener_filter_count; i++)
        if (listener_filter_def_of(&spec->listener_filters[i]) == def)
            return true;
    return false;
}

static bool is_any_address(const struct addr *a)
{
    static const struct in6_addr none;
    if (a->sa.sa_family == AF_INET)
        return a->in4.sin_addr.s_addr == 0;
    return a->sa.sa_family == AF_INET6 && memcmp(&a->in6.sin6_addr, &none, sizeof(none)) == 0;
}

static bool is_same_host(const struct addr *a, const struct addr *b)
{
    struct addr x = *a, y = *b; /* IP addresses: nothing owned */
    addr_set_port(&x, 0);
    addr_set_port(&y, 0);
    return addr_eq(&x, &y);
}

static enum fit fit_of_address(const struct finder *f, const struct listener_spec *spec, const struct addr *bound)
{
    const struct explain_request *rq = f->r->rq;
    if (!addr_is_ip(bound) || (f->port && addr_port(bound) != f->port))
        return FIT_NOT;
    if (f->by_address && !is_any_address(bound) && !is_same_host(bound, &rq->destination))
        return FIT_NOT;
    if (!spec->bind_to_port)
        return FIT_UNBOUND;
    return is_any_address(bound) ? FIT_WILDCARD : FIT_EXACT;
}

static enum fit fit_of(const struct finder *f, const struct listener_spec *spec, const struct addr *bound, uint32_t n, uint32_t *which)
{
    enum fit best = FIT_NOT;
    *which = 0;
    if (f->r->rq->listener.n)
        return str_eq(spec->name, f->r->rq->listener) ? FIT_EXACT : FIT_NOT;
    for (uint32_t i = 0; i < n && (f->port || f->by_address); i++) {
        enum fit fit = fit_of_address(f, spec, &bound[i]);
        if (fit > best) {
            best = fit;
            *which = i;
        }
    }
    if (best == FIT_NOT && f->by_address && has_listener_filter(spec, &original_dst_filter))
        return FIT_CAPTURED;
    return best;
}

static const char *fit_text(enum fit fit)
{
    static const char *const texts[] = {
        [FIT_NOT] = "another address or port", [FIT_CAPTURED] = "takes captured connections (original_dst)",
        [FIT_UNBOUND] = "isn't bound to its port (bind_to_port: false)", [FIT_WILDCARD] = "listens on every address of this port",
        [FIT_EXACT] = "listens on this address",
    };
    return texts[fit];
}

static void look_at_listener(const struct listener_spec *spec, const struct addr *bound, uint32_t n, void *arg)
{
    struct finder *f = arg;
    uint32_t which;
    enum fit fit = fit_of(f, spec, bound, n, &which);
    if (spec->bind_to_port && n && speaks_http(spec)) {
        f->http_count++;
        f->only = spec;
        f->only_bound = bound[0];
    }
    if (fit <= f->best)
        return;
    f->best = fit;
    f->r->listener = spec;
    f->bound = n ? bound[which] : (struct addr){0};
}

static struct str addresses_text(struct explain_report *r, const struct addr *bound, uint32_t n)
{
    struct strbuf b = {0};
    char text[ADDR_TEXT_BYTES];
    for (uint32_t i = 0; i < n && i < 4; i++)
        strbuf_addf(&b, "%s%s", i ? ", " : "", addr_text(&bound[i], text));
    if (n > 4)
        strbuf_addf(&b, " and %u more", n - 4);
    return explain_take(r, &b);
}

static void note_other(const struct listener_spec *spec, const struct addr *bound, uint32_t n, void *arg)
{
    struct finder *f = arg;
    uint32_t which;
    enum fit fit = fit_of(f, spec, bound, n, &which);
    struct str where = addresses_text(f->r, bound, n);
    if (spec == f->r->listener)
        return;
    if (f->r->rq->listener.n)
        explain_note(f->r, &f->r->listeners, spec->name, "has another name (%.*s)", STR_ARG(where));
    else if (fit != FIT_NOT)
        explain_note(f->r, &f->r->listeners, spec->name, "fits too, but less well: %s (%.*s)", fit_text(fit), STR_ARG(where));
    else
        explain_note(f->r, &f->r->listeners, spec->name, "%s (%.*s)", fit_text(fit), STR_ARG(where));
}

/* The port that the URL means, where the question names no destination. */
static uint16_t port_of_url(const struct explain_request *rq)
{
    struct str host;
    int port;
    if (authority_split(rq->authority, &host, &port) && port > 0 && port <= 65535)
        return (uint16_t)port;
    return str_eq(rq->scheme, STR("https")) ? 443 : 80;
}

static void choose_listener(struct explain_report *r, struct finder *f)
{
    const struct explain_request *rq = r->rq;
    *f = (struct finder){.r = r, .port = rq->destination_port, .by_address = rq->has_destination};
    bool says = rq->listener.n || f->port || f->by_address;
    if (!says)
        f->port = port_of_url(rq);
    listener_manager_each(r->server->listeners, look_at_listener, f);
    if (r->listener) {
        r->listener_why = rq->listener.n ? STR("asked for by name") : str_from(fit_text(f->best));
    } else if (!says && f->http_count == 1) {
        r->listener = f->only;
        f->bound = f->only_bound;
        r->listener_why = STR("the only one that is bound and speaks HTTP");
    }
    listener_manager_each(r->server->listeners, note_other, f);
}

/* Connections have both ends, whatever was asked. */
static void settle_addresses(struct explain_report *r, const struct finder *f)
{
    const struct explain_request *rq = r->rq;
    char text[ADDR_TEXT_BYTES];
    if (rq->has_source) {
        r->source = rq->source;
    } else {
        addr_from_ip(&r->source, STR("127.0.0.1"), 0, NULL);
        explain_note(r, &r->assumed, STR("source"), "127.0.0.1");
    }
    if (rq->has_destination) {
        r->destination = rq->destination;
        if (!addr_port(&r->destination) && addr_is_ip(&f->bound))
            addr_set_port(&r->destination, f->port ? f->port : addr_port(&f->bound));
        return;
    }
    if (addr_is_ip(&f->bound))
        r->destination = f->bound;
    else
        addr_from_ip(&r->destination, STR("127.0.0.1"), f->port, NULL);
    if (is_any_address(&r->destination))
        addr_from_ip(&r->destination, r->destination.sa.sa_family == AF_INET6 ? STR("::1") : STR("127.0.0.1"), addr_port(&f->bound), NULL);
    explain_note(r, &r->assumed, STR("destination"), "%s", addr_text(&r->destination, text));
}

/* ---- filter chains ---- */

static void add_ranges(struct strbuf *b, const struct cidr *c, uint32_t n)
{
    for (uint32_t i = 0; i < n && i < 8; i++) {
        struct sockaddr_storage ss = {.ss_family = c[i].family};
        struct addr a = {0};
        if (c[i].family == AF_INET)
            memcpy(&((struct sockaddr_in *)&ss)->sin_addr, c[i].bytes, 4);
        else
            memcpy(&((struct sockaddr_in6 *)&ss)->sin6_addr, c[i].bytes, 16);
        addr_from_sockaddr(&a, (struct sockaddr *)&ss, c[i].family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        char ip[ADDR_TEXT_BYTES];
        strbuf_addf(b, "%s%s/%u", i ? ", " : "", addr_ip_text(&a, ip), c[i].prefix_bits);
    }
    if (n > 8)
        strbuf_addf(b, " and %u more", n - 8);
}

static void add_texts(struct strbuf *b, const struct str *s, uint32_t n)
{
    for (uint32_t i = 0; i < n && i < 8; i++)
        strbuf_addf(b, "%s%.*s", i ? ", " : "", STR_ARG(s[i]));
    if (n > 8)
        strbuf_addf(b, " and %u more", n - 8);
    if (!n)
        strbuf_addz(b, "none");
}

static void add_address(struct strbuf *b, const struct addr *a)
{
    char text[ADDR_TEXT_BYTES];
    strbuf_addz(b, addr_is_ip(a) ? addr_ip_text(a, text) : addr_text(a, text));
}

/* What the criterion asks for; false: it asks for nothing. */
static bool add_wanted(struct strbuf *b, const struct chain_match_spec *m, enum chain_criterion c)
{
    size_t before = b->n;
    switch (c) {
    case CHAIN_REFUSED_PORT:
        if (m->has_destination_port)
            strbuf_addu(b, m->destination_port);
        break;
    case CHAIN_REFUSED_DESTINATION:
        add_ranges(b, m->prefix_ranges, m->prefix_count);
        break;
    case CHAIN_REFUSED_NAME:
        if (m->server_name_count)
            add_texts(b, m->server_names, m->server_name_count);
        break;
    case CHAIN_REFUSED_TRANSPORT:
        strbuf_adds(b, m->transport_protocol);
        break;
    case CHAIN_REFUSED_PROTOCOL:
        if (m->application_protocol_count)
            add_texts(b, m->application_protocols, m->application_protocol_count);
        break;
    case CHAIN_REFUSED_DIRECT_SOURCE:
        add_ranges(b, m->direct_source_ranges, m->direct_source_count);
        break;
    case CHAIN_REFUSED_SOURCE_TYPE:
        if (m->source_type != SOURCE_ANY)
            strbuf_addz(b, m->source_type == SOURCE_EXTERNAL ? "EXTERNAL" : "SAME_IP_OR_LOOPBACK");
        break;
    case CHAIN_REFUSED_SOURCE:
        add_ranges(b, m->source_ranges, m->source_count);
        break;
    case CHAIN_REFUSED_SOURCE_PORT:
        for (uint32_t i = 0; i < m->source_port_count && i < 8; i++)
            strbuf_addf(b, "%s%u", i ? ", " : "", m->source_ports[i]);
        break;
    case CHAIN_TAKEN:
        break;
    }
    return b->n > before;
}

static void add_seen(struct strbuf *b, const struct chain_query *q, enum chain_criterion c)
{
    switch (c) {
    case CHAIN_REFUSED_PORT:
        strbuf_addu(b, addr_port(q->destination));
        break;
    case CHAIN_REFUSED_DESTINATION:
        add_address(b, q->destination);
        break;
    case CHAIN_REFUSED_NAME:
        add_texts(b, &q->server_name, q->server_name.n > 0);
        break;
    case CHAIN_REFUSED_TRANSPORT:
        strbuf_adds(b, q->transport_protocol);
        break;
    case CHAIN_REFUSED_PROTOCOL:
        add_texts(b, q->application_protocols, q->application_protocol_count);
        break;
    case CHAIN_REFUSED_DIRECT_SOURCE:
    case CHAIN_REFUSED_SOURCE_TYPE:
    case CHAIN_REFUSED_SOURCE:
        add_address(b, c == CHAIN_REFUSED_DIRECT_SOURCE ? q->direct_source : q->source);
        break;
    case CHAIN_REFUSED_SOURCE_PORT:
        strbuf_addu(b, addr_port(q->source));
        break;
    case CHAIN_TAKEN:
        break;
    }
}

static struct str chain_name(struct explain_report *r, const struct listener_spec *spec, const struct filter_chain *c)
{
    if (c->name.n)
        return c->name;
    if (c == spec->default_chain)
        return STR("default_filter_chain");
    for (uint32_t i = 0; i < spec->chain_count; i++)
        if (spec->chains[i] == c)
            return arena_printf(r->arena, "filter_chains[%u]", i);
    return STR("");
}

static void note_chain(struct explain_report *r, const struct filter_chain *c, const struct chain_query *q)
{
    const struct listener_spec *spec = r->listener;
    struct strbuf wanted = {0}, seen = {0};
    struct str name = chain_name(r, spec, c);
    if (c == spec->default_chain) {
        explain_note(r, &r->chains, name, "only where no other fits");
        return;
    }
    enum chain_criterion why = chain_index_refusal(spec->index, q, c);
    bool asks = add_wanted(&wanted, &c->match, why);
    add_seen(&seen, q, why);
    if (asks)
        explain_note(r, &r->chains, name, "%s: wants %.*s, the connection has %.*s", chain_criterion_text(why),
                     (int)wanted.n, wanted.p, (int)seen.n, seen.p ? seen.p : "");
    else
        explain_note(r, &r->chains, name, "%s: left open here, but another chain asks for %.*s", chain_criterion_text(why), (int)seen.n,
                     seen.p ? seen.p : "");
    strbuf_fini(&wanted);
    strbuf_fini(&seen);
}

/* As listener filters would find it out. */
static struct chain_query make_query(struct explain_report *r)
{
    const struct explain_request *rq = r->rq;
    static const struct str http11 = {"http/1.1", 8};
    struct chain_query q = {.destination = &r->destination, .source = &r->source, .direct_source = &r->source,
                            .transport_protocol = STR("raw_buffer")};
    bool tls = has_listener_filter(r->listener, &tls_inspector_filter);
    if (rq->is_tls && tls) {
        q.transport_protocol = STR("tls");
        q.server_name = rq->sni;
        q.application_protocols = rq->alpn;
        q.application_protocol_count = rq->alpn_count;
    } else if (rq->is_tls && r->listener->chain_count > 1) {
        explain_note(r, &r->warnings, STR("listener"), "has no tls_inspector: server name and ALPN choose no filter chain");
    } else if (!rq->is_tls && has_listener_filter(r->listener, &http_inspector_filter)) {
        q.application_protocols = &http11;
        q.application_protocol_count = 1;
    }
    return q;
}

static void choose_chain(struct explain_report *r)
{
    const struct listener_spec *spec = r->listener;
    struct chain_query q = make_query(r);
    r->chain = spec->index ? chain_index_find(spec->index, &q) : NULL;
    r->chain_why = spec->chain_count == 1 && !spec->default_chain ? STR("the only one") : STR("the most specific match");
    if (!r->chain && spec->default_chain) {
        r->chain = spec->default_chain;
        r->chain_why = STR("default_filter_chain: no other fits");
    }
    for (uint32_t i = 0; i < spec->chain_count; i++)
        if (spec->chains[i] != r->chain && spec->index)
            note_chain(r, spec->chains[i], &q);
    if (spec->default_chain && spec->default_chain != r->chain)
        note_chain(r, spec->default_chain, &q);
    if (r->chain)
        r->chain_name = chain_name(r, spec, r->chain);
}

/* ---- network filters before the terminal one ---- */

struct listening { struct explain_report *r; struct str filter; };

static void note_line(void *arg, struct str line)
{
    struct listening *l = arg;
    explain_note(l->r, &l->r->prologue, l->filter, "%.*s", STR_ARG(line));
}

static void ask_prologue(struct explain_report *r)
{
    const struct stream_info info = {
        .downstream_remote = &r->source,
        .downstream_direct_remote = &r->source,
        .downstream_local = &r->destination,
        .requested_server_name = r->rq->sni,
        .filter_chain_name = r->chain->name,
        .supposed_tls = r->chain->tls != NULL,
        .supposed_principal = r->chain->tls ? r->rq->principal : STR_NULL,
    };
    for (uint32_t i = 0; i + 1 < r->chain->filter_count && !r->closed_by.p; i++) {
        const struct network_filter_spec *f = network_filter_of(&r->chain->filters[i]);
        struct listening l = {r, f->name};
        struct filter_words words = {.say = note_line, .arg = &l, .arena = r->arena};
        if (!f->def->explain)
            continue;
        f->def->explain(f->config, &info, &words);
        if (words.closes) {
            r->closed_by = f->name;
            r->closed_details = words.details;
        }
    }
}

void explain_connection(struct explain_report *r)
{
    struct finder f;
    choose_listener(r, &f);
    settle_addresses(r, &f);
    if (!r->listener)
        return;
    choose_chain(r);
    const struct network_filter_spec *last = terminal_of(r->chain);
    if (!last)
        return;
    r->network_filter = str_from(last->def->name);
    if (last->def == &hcm_filter)
        r->hcm = last->config;
    ask_prologue(r);
    if (r->rq->is_tls != (r->chain->tls != NULL))
        explain_note(r, &r->warnings, STR("transport"), "%s", r->chain->tls ? "the filter chain speaks TLS, the question is in the clear"
                                                                          : "the question is over TLS, the filter chain speaks in the clear");
}
