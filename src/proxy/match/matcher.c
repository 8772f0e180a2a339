/* SPDX-License-Identifier: Apache-2.0
 *
 * Matcher trees. A branch that comes to nothing (no match inside, or keep_matching) is left and the
 * next one tried: the next predicate of a list, the next shorter prefix of a map, on_no_match last.
 * Depth is bounded by the configuration's. Pure, any worker.
 */
#include "proxy/match/matcher.h"

#include "base/mem.h"
#include "http/codec/uri.h"
#include "io/addr.h"
#include "io/conn.h"
#include "io/tls.h"
#include "proxy/match/cookie.h"

/* ---- inputs ---- */

struct input_text {
    char bytes[ADDR_TEXT_BYTES];
    struct arena joined;
    bool has_arena;
};

static struct str ip_text(const struct addr *a, struct input_text *t)
{
    return a && addr_is_ip(a) ? str_from(addr_ip_text(a, t->bytes)) : STR_NULL;
}

static struct str port_text(const struct addr *a, struct input_text *t)
{
    return a && addr_is_ip(a) ? str_make(t->bytes, u64_format(addr_port(a), t->bytes)) : STR_NULL;
}

static struct str header_text(const struct headers *h, struct str name, struct input_text *t)
{
    if (!headers_find(h, name))
        return STR_NULL;
    arena_init(&t->joined, 0);
    t->has_arena = true;
    struct str s = headers_get_joined(h, name, &t->joined);
    return s.p ? s : STR("");
}

/* Several names are one text, parted by commas (Envoy: UriSanInput, DnsSanInput). */
static struct str joined_names(const struct str *names, struct input_text *t)
{
    struct strbuf b = {0};
    if (!names || !names->p)
        return STR_NULL;
    for (const struct str *s = names; s->p; s++) {
        strbuf_addz(&b, s == names ? "" : ",");
        strbuf_adds(&b, *s);
    }
    arena_init(&t->joined, 0);
    t->has_arena = true;
    struct str joined = arena_str(&t->joined, strbuf_str(&b));
    strbuf_fini(&b);
    return joined;
}

static struct str certificate_text(const struct matcher_input *in, const struct stream_info *info, struct input_text *t)
{
    struct tls_session *tls = info->downstream ? conn_tls(info->downstream) : NULL;
    const struct tls_cert_facts *facts = tls && tls_session_peer_validated(tls) ? tls_session_peer(tls) : NULL;
    if (!facts)
        return STR_NULL;
    if (in->kind == INPUT_SUBJECT)
        return facts->subject.n ? facts->subject : STR_NULL;
    return joined_names(in->kind == INPUT_URI_SAN ? facts->uri_sans : facts->dns_sans, t);
}

static struct str connection_text(const struct matcher_input *in, const struct stream_info *info, struct input_text *t)
{
    const struct filter_state_entry *e;
    switch (in->kind) {
    case INPUT_FILTER_STATE:
        e = filter_state_find(&info->filter_state, in->name);
        return e ? e->value : STR_NULL;
    case INPUT_SOURCE_IP:
        return ip_text(info->downstream_remote, t);
    case INPUT_SOURCE_PORT:
        return port_text(info->downstream_remote, t);
    case INPUT_DIRECT_SOURCE_IP:
        return ip_text(info->downstream_direct_remote, t);
    case INPUT_DESTINATION_IP:
        return ip_text(info->downstream_local, t);
    case INPUT_DESTINATION_PORT:
        return port_text(info->downstream_local, t);
    case INPUT_SOURCE_TYPE: /* "local" or nothing (Envoy: SourceTypeInput) */
        return info->downstream_remote && addr_is_loopback(info->downstream_remote) ? STR("local") : STR_NULL;
    case INPUT_SERVER_NAME:
        return info->requested_server_name.n ? info->requested_server_name : STR_NULL;
    case INPUT_URI_SAN:
    case INPUT_DNS_SAN:
    case INPUT_SUBJECT:
        return certificate_text(in, info, t);
    default:
        return STR_NULL;
    }
}

/* A null str: there is no such thing. */
static struct str input_get(const struct matcher_input *in, const struct matcher_data *d, struct input_text *t)
{
    struct str query, value;
    switch (in->kind) {
    case INPUT_HEADER:
        return header_text(d->headers, in->name, t);
    case INPUT_QUERY_PARAMETER:
        query = path_query(headers_get_id(d->headers, HDR_PATH));
        return query.p && query_get(query, in->name, &value) ? value : STR_NULL;
    case INPUT_COOKIE:
        return cookie_get(d->headers, in->name);
    default:
        return d->info ? connection_text(in, d->info, t) : STR_NULL;
    }
}

static void input_done(struct input_text *t)
{
    if (t->has_arena)
        arena_fini(&t->joined);
}

/* ---- trees ---- */

static bool holds(const struct predicate *p, const struct matcher_data *d)
{
    struct input_text t = {.has_arena = false};
    bool is_and = p->kind == PREDICATE_AND;
    switch (p->kind) {
    case PREDICATE_VALUE: {
        struct str value = input_get(&p->input, d, &t);
        bool matches = value.p && string_matches(&p->value, value);
        input_done(&t);
        return matches;
    }
    case PREDICATE_NOT:
        return !holds(&p->children[0], d);
    case PREDICATE_AND:
    case PREDICATE_OR:
        for (uint32_t i = 0; i < p->child_count; i++)
            if (holds(&p->children[i], d) != is_and)
                return !is_and;
        return is_and;
    }
    return false;
}

static const void *follow(const struct on_match *on, const struct matcher_data *d)
{
    const void *found = on->matcher ? matcher_find(on->matcher, d) : on->action;
    return on->keep_matching ? NULL : found;
}

static const void *find_in_map(const struct matcher *m, struct str value, const struct matcher_data *d)
{
    if (m->kind == MATCHER_EXACT_MAP) {
        const struct on_match *on = map_get(m->map, value);
        return on ? follow(on, d) : NULL;
    }
    for (uint32_t i = 0; i < m->length_count; i++) {
        if (m->lengths[i] > value.n)
            continue;
        const struct on_match *on = map_get(m->map, str_make(value.p, m->lengths[i]));
        const void *found = on ? follow(on, d) : NULL;
        if (found)
            return found;
    }
    return NULL;
}

const void *matcher_find(const struct matcher *m, const struct matcher_data *d)
{
    const void *found = NULL;
    if (m->kind == MATCHER_LIST) {
        for (uint32_t i = 0; i < m->item_count && !found; i++)
            if (holds(&m->items[i].predicate, d))
                found = follow(&m->items[i].on, d);
    } else {
        struct input_text t = {.has_arena = false};
        struct str value = input_get(&m->input, d, &t);
        if (value.p)
            found = find_in_map(m, value, d);
        input_done(&t);
    }
    return found ? found : follow(&m->otherwise, d);
}

static void predicate_fini(struct predicate *p)
{
    if (p->kind == PREDICATE_VALUE)
        string_match_fini(&p->value);
    for (uint32_t i = 0; i < p->child_count; i++)
        predicate_fini(&p->children[i]);
}

static void on_match_fini(struct on_match *on)
{
    if (on->matcher)
        matcher_fini(on->matcher);
}

void matcher_fini(struct matcher *m)
{
    for (uint32_t i = 0; i < m->item_count; i++) {
        predicate_fini(&m->items[i].predicate);
        on_match_fini(&m->items[i].on);
    }
    size_t pos = 0;
    struct str key;
    void *on;
    while (m->map && map_next(m->map, &pos, &key, &on))
        on_match_fini(on);
    map_free(&m->map);
    on_match_fini(&m->otherwise);
}
