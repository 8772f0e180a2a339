/* SPDX-License-Identifier: Apache-2.0
 *
 * Header rules. Lists of routes (`at_once`) are Envoy's HeaderParser: removals, then all values from
 * the headers as they are then, then overwriting, then adding, so that no rule sees what another one
 * of its list wrote. header_mutation's lists run one after the other. Any worker; the only memory is
 * the message's arena and one text buffer a thread.
 */
#include "proxy/route/header_rules.h"

#include <pthread.h>

#include "base/mem.h"
#include "proxy/route/route_priv.h"

/* Names of which Envoy keeps one entry, so that adding means ",value" behind the old one (its inline headers). */
static bool is_single(enum header_id id)
{
    switch (id) {
    case HDR_METHOD: case HDR_PATH: case HDR_AUTHORITY: case HDR_SCHEME: case HDR_PROTOCOL: case HDR_STATUS:
    case HDR_HOST: case HDR_CONNECTION: case HDR_CONTENT_LENGTH: case HDR_TRANSFER_ENCODING: case HDR_CONTENT_TYPE:
    case HDR_TE: case HDR_EXPECT: case HDR_UPGRADE: case HDR_KEEP_ALIVE: case HDR_PROXY_CONNECTION: case HDR_DATE:
    case HDR_SERVER: case HDR_VIA: case HDR_USER_AGENT: case HDR_X_REQUEST_ID: case HDR_X_FORWARDED_FOR:
    case HDR_X_FORWARDED_PROTO: case HDR_X_FORWARDED_HOST: case HDR_X_FORWARDED_PORT: case HDR_X_FORWARDED_CLIENT_CERT:
    case HDR_ENVOY_EXTERNAL_ADDRESS: case HDR_ENVOY_INTERNAL: case HDR_ENVOY_ORIGINAL_PATH: case HDR_ENVOY_ATTEMPT_COUNT:
    case HDR_ENVOY_RETRY_ON: case HDR_ENVOY_RETRY_GRPC_ON: case HDR_ENVOY_DECORATOR: case HDR_ENVOY_FORCE_TRACE:
    case HDR_ENVOY_DOWNSTREAM_CLUSTER: case HDR_ENVOY_DOWNSTREAM_NODE: case HDR_ENVOY_HEDGE: case HDR_ENVOY_DEGRADED:
    case HDR_ENVOY_RATELIMITED: case HDR_X_CLIENT_TRACE_ID: case HDR_GRPC_TIMEOUT: case HDR_GRPC_STATUS:
    case HDR_GRPC_MESSAGE: case HDR_ORIGIN: case HDR_ACCEPT_ENCODING: case HDR_CONTENT_ENCODING: case HDR_CACHE_CONTROL:
    case HDR_ETAG: case HDR_VARY:
        return true;
    default:
        return false;
    }
}

/* ---- values ---- */

static pthread_key_t text_key;
static pthread_once_t text_once = PTHREAD_ONCE_INIT;
static __thread struct strbuf *text;

static void text_free(void *p)
{
    strbuf_fini(p);
    mem_free(p);
}

static void text_setup(void)
{
    pthread_key_create(&text_key, text_free);
}

struct strbuf *route_text(void)
{
    if (!text) {
        pthread_once(&text_once, text_setup);
        text = NEW(strbuf);
        pthread_setspecific(text_key, text);
    }
    strbuf_reset(text);
    return text;
}

/* What can't stand in a field would split the message (RFC 9110 section 5.5): it becomes a space. */
static struct str make_safe(struct str s)
{
    if (!header_value_is_valid(s))
        for (size_t i = 0; i < s.n; i++)
            if ((unsigned char)s.p[i] < 0x20 && s.p[i] != '\t')
                ((char *)s.p)[i] = ' ';
    return s;
}

static struct str value_of(const struct header_mutation *m, const struct format_context *cx, struct arena *a)
{
    if (m->literal.p)
        return m->literal;
    if (!m->value)
        return STR("");
    struct strbuf *b = route_text();
    format_run(m->value, cx, b);
    return make_safe(arena_str(a, strbuf_str(b)));
}

/* ---- changing lists ---- */

/* Envoy's one name for the target's host. */
static struct str stored_name(const struct headers *h, struct str name)
{
    return str_eq(name, STR("host")) && headers_has_id(h, HDR_AUTHORITY) ? STR(":authority") : name;
}

static void add(struct headers *h, struct str name, struct str value)
{
    enum header_id id = header_id_of(name);
    if (id != HDR_OTHER && is_single(id) && headers_find_id(h, id))
        headers_append_id(h, id, value);
    else
        headers_add_ref(h, name, value);
}

static void put(struct headers *h, const struct header_mutation *m, struct str value)
{
    struct str name = stored_name(h, m->name);
    bool there;
    switch (m->action) {
    case HEADER_APPEND:
        add(h, name, value);
        return;
    case HEADER_ADD_IF_ABSENT:
        if (!headers_find(h, name))
            headers_add_ref(h, name, value);
        return;
    case HEADER_OVERWRITE_IF_EXISTS:
    case HEADER_OVERWRITE_OR_ADD:
        there = headers_find(h, name) != NULL;
        if (!there && m->action == HEADER_OVERWRITE_IF_EXISTS)
            return;
        if (there && name.p[0] == ':') {
            headers_set(h, name, value); /* pseudo headers keep their place before the fields */
            return;
        }
        headers_remove(h, name);
        headers_add_ref(h, name, value);
    }
}

void header_mutation_apply(const struct header_mutation *m, struct headers *h, const struct format_context *cx, struct arena *a)
{
    struct str value = value_of(m, cx, a);
    if (value.n || m->keep_empty)
        put(h, m, value);
}

static bool may_go(struct str name)
{
    return name.n && name.p[0] != ':' && !str_eq(name, STR("host"));
}

static void remove_matching(struct headers *h, const struct string_match *m)
{
    for (uint32_t i = h->count; i-- > 0;)
        if (may_go(h->items[i].name) && string_matches(m, h->items[i].name))
            headers_remove_at(h, i);
}

static void apply_removal(const struct header_rule *r, struct headers *h)
{
    if (r->kind == HEADER_RULE_REMOVE_MATCHING)
        remove_matching(h, &r->matching);
    else if (may_go(r->name))
        headers_remove(h, r->name);
}

static bool overwrites(const struct header_mutation *m)
{
    return m->action == HEADER_OVERWRITE_OR_ADD || m->action == HEADER_OVERWRITE_IF_EXISTS;
}

/* Whether a rule of a list runs at all is settled by the headers before any of them wrote. */
static bool is_wanted(const struct header_mutation *m, struct str value, const struct headers *h)
{
    if (!value.n && !m->keep_empty)
        return false;
    if (m->action == HEADER_ADD_IF_ABSENT)
        return !headers_find(h, stored_name(h, m->name));
    if (m->action == HEADER_OVERWRITE_IF_EXISTS)
        return headers_find(h, stored_name(h, m->name));
    return true;
}

static void write_wanted(const struct header_rules *r, const struct str *values, bool overwriting, struct headers *h)
{
    for (uint32_t i = 0; i < r->count; i++) {
        struct header_mutation m = r->items[i].mutation;
        if (r->items[i].kind != HEADER_RULE_MUTATE || !values[i].p || overwrites(&m) != overwriting)
            continue;
        m.action = overwriting ? HEADER_OVERWRITE_OR_ADD : HEADER_APPEND;
        put(h, &m, values[i]);
    }
}

static void apply_at_once(const struct header_rules *r, struct headers *h, const struct format_context *cx, struct arena *a)
{
    struct str *values = arena_zalloc(a, r->count * sizeof *values);
    for (uint32_t i = 0; i < r->count; i++)
        if (r->items[i].kind != HEADER_RULE_MUTATE)
            apply_removal(&r->items[i], h);
    if (!values)
        return; /* the arena's mark says so to whoever looks */
    for (uint32_t i = 0; i < r->count; i++) {
        if (r->items[i].kind != HEADER_RULE_MUTATE)
            continue;
        struct str v = value_of(&r->items[i].mutation, cx, a);
        if (is_wanted(&r->items[i].mutation, v, h))
            values[i] = v.p ? v : STR("");
    }
    write_wanted(r, values, true, h);
    write_wanted(r, values, false, h);
}

void header_rules_apply(const struct header_rules *r, struct headers *h, const struct format_context *cx, struct arena *a)
{
    if (!r->count)
        return;
    if (r->at_once && r->count > 1) {
        apply_at_once(r, h, cx, a);
        return;
    }
    for (uint32_t i = 0; i < r->count; i++) {
        if (r->items[i].kind == HEADER_RULE_MUTATE)
            header_mutation_apply(&r->items[i].mutation, h, cx, a);
        else
            apply_removal(&r->items[i], h);
    }
}

void header_rules_fini(struct header_rules *r)
{
    for (uint32_t i = 0; i < r->count; i++) {
        format_free(&r->items[i].mutation.value);
        if (r->items[i].kind == HEADER_RULE_REMOVE_MATCHING)
            string_match_fini(&r->items[i].matching);
    }
    *r = (struct header_rules){0};
}
