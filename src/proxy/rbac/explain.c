/* SPDX-License-Identifier: Apache-2.0
 *
 * Decisions in words: which policy decided, and of each before it the first part that refused. It decides nothing: whether a
 * rule matches is asked of rule.c. Values of credentials are never shown, long ones are cut. Pure; any thread.
 */
#include "proxy/cel/cel.h"
#include "proxy/match/matcher.h"
#include "proxy/rbac/rbac_priv.h"
#include "proxy/route/explain.h"

#define ALTERNATIVES_MAX 3 /* of an OR, that are spelled out */

static const char *const kinds[] = {
#define X(id, name) [id] = name,
    RBAC_RULE_TABLE(X)
#undef X
};

static bool is_secret(struct str header)
{
    return str_eq(header, STR("authorization")) || str_eq(header, STR("cookie")) || str_eq(header, STR("proxy-authorization"));
}

static void cidr_words(const struct cidr *c, struct strbuf *out)
{
    char text[ADDR_TEXT_BYTES];
    struct addr a = {0};
    a.sa.sa_family = c->family;
    if (c->family == AF_INET)
        memcpy(&a.in4.sin_addr, c->bytes, 4);
    else
        memcpy(&a.in6.sin6_addr, c->bytes, 16);
    strbuf_addf(out, "%s/%u", addr_ip_text(&a, text), c->prefix_bits);
}

static void address_words(const struct addr *a, struct strbuf *out)
{
    char text[ADDR_TEXT_BYTES];
    strbuf_addz(out, a ? addr_ip_text(a, text) : "none");
}

static void metadata_words(const struct metadata_matcher *m, struct strbuf *out)
{
    strbuf_adds(out, m->space);
    for (uint32_t i = 0; i < m->path_count; i++) {
        strbuf_addc(out, i ? '.' : ':');
        strbuf_adds(out, m->path[i]);
    }
    strbuf_addz(out, m->invert ? " not to match" : " to match");
}

static void wanted(const struct rbac_rule *r, struct strbuf *out)
{
    switch (r->kind) {
    case RBAC_HEADER:
        header_matcher_words(&r->u.header, out);
        break;
    case RBAC_PATH:
    case RBAC_AUTHENTICATED:
    case RBAC_SAN:
    case RBAC_SERVER_NAME:
        if (r->any_name)
            strbuf_addz(out, "TLS");
        else
            string_match_words(&r->u.text, out);
        break;
    case RBAC_TEMPLATE:
        quoted_words(out, r->shown);
        break;
    case RBAC_METADATA:
    case RBAC_ROUTE_METADATA:
        metadata_words(&r->u.metadata, out);
        break;
    case RBAC_FILTER_STATE:
        strbuf_adds(out, r->u.filter_state.key);
        strbuf_addz(out, " to match");
        break;
    case RBAC_VALIDATED:
        strbuf_addz(out, "a verified certificate");
        break;
    case RBAC_SOURCE_IP:
    case RBAC_DIRECT_REMOTE_IP:
    case RBAC_REMOTE_IP:
    case RBAC_DESTINATION_IP:
        cidr_words(&r->u.cidr, out);
        break;
    case RBAC_PORT:
        strbuf_addf(out, "%d", r->u.ports.start);
        break;
    case RBAC_PORTS:
        strbuf_addf(out, "%d to below %d", r->u.ports.start, r->u.ports.end);
        break;
    default:
        strbuf_addz(out, kinds[r->kind]);
    }
}

static void names_words(const struct str *names, uint32_t *n, struct strbuf *out)
{
    for (; names && names->p; names++) {
        strbuf_addz(out, (*n)++ ? ", " : "");
        quoted_words(out, *names);
    }
}

static void peer_words(const struct rbac_peer *p, struct strbuf *out)
{
    uint32_t n = 0;
    if (!p->is_tls || !p->is_verified) {
        strbuf_addz(out, p->is_tls ? "no verified certificate" : "no TLS");
        return;
    }
    names_words(p->uri_sans, &n, out);
    names_words(p->dns_sans, &n, out);
    names_words((const struct str[]){p->subject, STR_NULL}, &n, out);
}

static void seen(const struct rbac_rule *r, const struct rbac_input *in, struct strbuf *out)
{
    const struct metadata *md = r->kind == RBAC_ROUTE_METADATA ? in->route_metadata : &in->info->metadata;
    const struct filter_state_entry *e;
    const struct meta_value *v;
    switch (r->kind) {
    case RBAC_HEADER:
        if (is_secret(r->u.header.name))
            strbuf_addz(out, "(hidden)");
        else if (in->headers)
            header_words(out, in->headers, r->u.header.name);
        else
            strbuf_addz(out, "absent");
        break;
    case RBAC_PATH:
    case RBAC_TEMPLATE:
        if (in->path.p)
            quoted_words(out, in->path);
        else
            strbuf_addz(out, "absent");
        break;
    case RBAC_METADATA:
    case RBAC_ROUTE_METADATA:
        v = metadata_find(md, r->u.metadata.space, r->u.metadata.path, r->u.metadata.path_count);
        strbuf_addz(out, v ? "another value" : "absent"); /* claims of tokens stand there */
        break;
    case RBAC_FILTER_STATE:
        e = filter_state_find(&in->info->filter_state, r->u.filter_state.key);
        if (e)
            quoted_words(out, e->value);
        else
            strbuf_addz(out, "absent");
        break;
    case RBAC_AUTHENTICATED:
    case RBAC_VALIDATED:
    case RBAC_SAN:
        peer_words(&in->peer, out);
        break;
    case RBAC_SOURCE_IP:
    case RBAC_DIRECT_REMOTE_IP:
    case RBAC_REMOTE_IP:
    case RBAC_DESTINATION_IP:
        address_words(rbac_address_of(r->kind, in), out);
        break;
    case RBAC_PORT:
    case RBAC_PORTS:
        strbuf_addf(out, "%u", in->info->downstream_local ? addr_port(in->info->downstream_local) : 0);
        break;
    case RBAC_SERVER_NAME:
        quoted_words(out, in->info->requested_server_name);
        break;
    default:
        break;
    }
}

static void leaf_refusal(const struct rbac_rule *r, const struct rbac_input *in, struct strbuf *out)
{
    strbuf_addf(out, "%s wants ", kinds[r->kind]);
    wanted(r, out);
    strbuf_addz(out, ", has ");
    seen(r, in, out);
}

/* An OR whose parts are all of one kind ask the same thing: what it has is told once. */
static bool is_of_one_kind(const struct rbac_rule *r)
{
    enum rbac_rule_kind kind = r->u.children.items[0].kind;
    for (uint32_t i = 0; i < r->u.children.count; i++) {
        const struct rbac_rule *c = &r->u.children.items[i];
        if (c->kind != kind || (kind == RBAC_HEADER && !str_eq(c->u.header.name, r->u.children.items[0].u.header.name)))
            return false;
    }
    return kind > RBAC_NOT;
}

static void refusal(const struct rbac_rule *r, const struct rbac_input *in, struct strbuf *out);

static void or_refusal(const struct rbac_rule *r, const struct rbac_input *in, struct strbuf *out)
{
    uint32_t n = r->u.children.count, shown = n < ALTERNATIVES_MAX ? n : ALTERNATIVES_MAX;
    struct rbac_rule *items = r->u.children.items;
    if (!n) {
        strbuf_addz(out, "nothing is listed");
    } else if (is_of_one_kind(r)) {
        strbuf_addf(out, "%s wants ", kinds[items[0].kind]);
        for (uint32_t i = 0; i < shown; i++) {
            strbuf_addz(out, i ? " or " : "");
            wanted(&items[i], out);
        }
        if (n > shown)
            strbuf_addf(out, " or one of %u more", n - shown);
        strbuf_addz(out, ", has ");
        seen(items, in, out);
    } else {
        for (uint32_t i = 0; i < shown; i++) {
            strbuf_addz(out, i ? "; and " : "");
            refusal(&items[i], in, out);
        }
        if (n > shown)
            strbuf_addf(out, "; and %u more", n - shown);
    }
}

/* Why not; r doesn't match. */
static void refusal(const struct rbac_rule *r, const struct rbac_input *in, struct strbuf *out)
{
    switch (r->kind) {
    case RBAC_AND:
        for (uint32_t i = 0; i < r->u.children.count; i++)
            if (!rbac_rule_matches(&r->u.children.items[i], in)) {
                refusal(&r->u.children.items[i], in, out);
                return;
            }
        break;
    case RBAC_OR:
        or_refusal(r, in, out);
        break;
    case RBAC_NOT: {
        const struct rbac_rule *c = r->u.children.items;
        while ((c->kind == RBAC_OR || c->kind == RBAC_AND) && c->u.children.count) { /* the part that did match */
            const struct rbac_rule *at = c->u.children.items;
            for (uint32_t i = 1; c->kind == RBAC_OR && i < c->u.children.count && !rbac_rule_matches(at, in); i++)
                at = &c->u.children.items[i];
            c = at;
        }
        strbuf_addf(out, "not %s ", kinds[c->kind]);
        if (c->kind > RBAC_NOT) {
            wanted(c, out);
            strbuf_addz(out, ", has ");
            seen(c, in, out);
        }
        break;
    }
    default:
        leaf_refusal(r, in, out);
    }
}

static void policy_refusal(const struct rbac_policy *p, const struct rbac_input *in, struct strbuf *out)
{
    strbuf_addf(out, "policy %.*s doesn't fit: ", STR_ARG(p->name));
    if (!rbac_rule_matches(&p->permissions, in)) {
        strbuf_addz(out, "permissions: ");
        refusal(&p->permissions, in, out);
    } else if (!rbac_rule_matches(&p->principals, in)) {
        strbuf_addz(out, "principals: ");
        refusal(&p->principals, in, out);
    } else {
        strbuf_addz(out, "condition ");
        strbuf_adds(out, p->condition_text);
        strbuf_addz(out, " isn't true");
    }
}

void rbac_explain(const struct rbac_engine *e, const struct rbac_input *in, uint32_t max, void (*say)(void *arg, struct str line),
                  void *arg)
{
    static const char *const actions[] = {"allows", "denies", "logs"};
    struct rbac_verdict v = rbac_decide(e, in);
    struct strbuf line = {0};
    uint32_t end = e->tree ? 0 : v.policy.p ? v.policy_index : e->count;
    if (v.policy.p) {
        enum rbac_action action = e->tree ? e->actions[v.policy_index]->action : e->action;
        strbuf_addf(&line, "policy %.*s %s", STR_ARG(v.policy), actions[action]);
    } else {
        strbuf_addf(&line, "no policy fits: %s", v.is_allowed ? "allowed" : "denied");
    }
    say(arg, strbuf_str(&line));
    for (uint32_t i = 0; i < end && i < max; i++) {
        strbuf_reset(&line);
        policy_refusal(&e->policies[i], in, &line);
        say(arg, strbuf_str(&line));
    }
    if (end > max) {
        strbuf_reset(&line);
        strbuf_addf(&line, "%u more policies don't fit", end - max);
        say(arg, strbuf_str(&line));
    }
    strbuf_fini(&line);
}
