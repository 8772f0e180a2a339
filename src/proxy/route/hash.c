/* SPDX-License-Identifier: Apache-2.0
 *
 * A request's hash, for ring and table balancers: xxHash64 with seed 0 of each policy's value, put
 * together by rotating left and xor, which is what Envoy does: a mixed mesh agrees on the endpoint.
 * Pure, any worker; a made cookie's text goes into the message's arena.
 */
#include <stdio.h>
#include <stdlib.h>

#define XXH_STATIC_LINKING_ONLY /* a state on the stack */
#include <xxhash.h>

#include "http/codec/uri.h"
#include "proxy/match/cookie.h"
#include "proxy/route/route_priv.h"
#include "proxy/stream_info.h"

#define HASHED_VALUES_MAX 64 /* of one header; a request's own limits are not far above */

static uint64_t hash_str(struct str s)
{
    return XXH64(s.p ? s.p : "", s.n, 0);
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Order of the fields doesn't matter: the values are hashed sorted, one after the other. */
static uint64_t hash_values(struct str *values, uint32_t n)
{
    XXH64_state_t state;
    qsort(values, n, sizeof *values, by_text);
    XXH64_reset(&state, 0);
    for (uint32_t i = 0; i < n; i++)
        if (values[i].n)
            XXH64_update(&state, values[i].p, values[i].n);
    return XXH64_digest(&state);
}

static bool hash_header(const struct hash_policy *p, const struct headers *h, uint64_t *out)
{
    struct str values[HASHED_VALUES_MAX];
    struct strbuf texts[HASHED_VALUES_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; i < h->count && n < HASHED_VALUES_MAX; i++)
        if (str_eq(h->items[i].name, p->name))
            values[n++] = h->items[i].value;
    if (!n && str_eq(p->name, STR("host")) && headers_has_id(h, HDR_AUTHORITY))
        values[n++] = headers_get_id(h, HDR_AUTHORITY);
    if (!n)
        return false;
    if (n == 1 && !p->regex) {
        *out = hash_str(values[0]);
        return true;
    }
    for (uint32_t i = 0; p->regex && i < n; i++) {
        texts[i] = (struct strbuf){0};
        if (regex_replace(p->regex, values[i], p->substitution, &texts[i]))
            values[i] = strbuf_str(&texts[i]);
    }
    *out = hash_values(values, n);
    for (uint32_t i = 0; p->regex && i < n; i++)
        strbuf_fini(&texts[i]);
    return true;
}

/* ---- cookies ---- */

/* The same for every stream of a connection, so that requests that race get the same one. */
static struct str new_cookie_value(const struct stream_info *info, char hex[17])
{
    char text[2 * ADDR_TEXT_BYTES], part[ADDR_TEXT_BYTES];
    size_t n = 0;
    const struct addr *ends[] = {info->downstream_remote, info->downstream_local};
    for (size_t i = 0; i < 2; i++) {
        struct str s = ends[i] ? str_from(addr_text(ends[i], part)) : STR("");
        memcpy(text + n, s.p, s.n);
        n += s.n;
    }
    snprintf(hex, 17, "%016llx", (unsigned long long)XXH64(text, n, 0));
    return str_make(hex, 16);
}

static struct str set_cookie_text(const struct hash_policy *p, struct str value, struct arena *a)
{
    struct strbuf *b = route_text();
    strbuf_addf(b, "%.*s=\"%.*s\"", STR_ARG(p->name), STR_ARG(value));
    if (p->ttl_s)
        strbuf_addf(b, "; Max-Age=%llu", (unsigned long long)p->ttl_s);
    if (p->path.n)
        strbuf_addf(b, "; Path=%.*s", STR_ARG(p->path));
    for (uint32_t i = 0; i < p->attribute_count; i++) {
        strbuf_addf(b, "; %.*s", STR_ARG(p->attributes[i].name));
        if (p->attributes[i].value.n)
            strbuf_addf(b, "=%.*s", STR_ARG(p->attributes[i].value));
    }
    strbuf_addz(b, "; HttpOnly");
    return arena_str(a, strbuf_str(b));
}

static bool hash_cookie(const struct hash_policy *p, const struct hash_source *src, struct arena *a, struct str *set_cookie,
                        uint64_t *out)
{
    char hex[17];
    struct str value = cookie_get(src->request, p->name);
    if (!value.n && p->has_ttl && src->info) {
        value = new_cookie_value(src->info, hex);
        if (set_cookie && a)
            *set_cookie = set_cookie_text(p, value, a);
    }
    if (!value.n)
        return false;
    *out = hash_str(value);
    return true;
}

/* ---- policies ---- */

static bool hash_source_ip(const struct stream_info *info, uint64_t *out)
{
    char text[ADDR_TEXT_BYTES];
    if (!info || !info->downstream_remote || !addr_is_ip(info->downstream_remote))
        return false;
    *out = hash_str(str_from(addr_ip_text(info->downstream_remote, text)));
    return true;
}

static bool hash_one(const struct hash_policy *p, const struct hash_source *src, struct arena *a, struct str *set_cookie, uint64_t *out)
{
    const struct filter_state_entry *state;
    struct str value, query;
    switch (p->kind) {
    case HASH_HEADER:
        return hash_header(p, src->request, out);
    case HASH_COOKIE:
        return hash_cookie(p, src, a, set_cookie, out);
    case HASH_SOURCE_IP:
        return hash_source_ip(src->info, out);
    case HASH_QUERY_PARAMETER:
        query = path_query(headers_get_id(src->request, HDR_PATH));
        if (!query.p || !query_get(query, p->name, &value))
            return false;
        *out = hash_str(value);
        return true;
    case HASH_FILTER_STATE:
        state = src->info ? filter_state_find(&src->info->filter_state, p->name) : NULL;
        if (state)
            *out = hash_str(state->value);
        return state != NULL;
    }
    return false;
}

bool route_hash_cookies(const struct hash_policy *p, uint32_t n, const struct hash_source *src, struct arena *a, uint64_t *hash,
                        struct hash_cookies *cookies)
{
    bool any = false;
    *hash = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t one;
        struct str cookie = STR_NULL;
        if (hash_one(&p[i], src, a, &cookie, &one)) {
            *hash = (any ? *hash << 1 | *hash >> 63 : 0) ^ one;
            any = true;
        }
        if (cookie.p && cookies && cookies->count < HASH_COOKIES_MAX)
            cookies->items[cookies->count++] = cookie;
        if (p[i].terminal && any)
            break;
    }
    return any;
}

bool route_hash(const struct hash_policy *p, uint32_t n, const struct hash_source *src, struct arena *a, uint64_t *hash,
                struct str *set_cookie)
{
    struct hash_cookies cookies = {0};
    bool any = route_hash_cookies(p, n, src, a, hash, &cookies);
    if (set_cookie)
        *set_cookie = cookies.count ? cookies.items[0] : STR_NULL;
    return any;
}
