/* SPDX-License-Identifier: Apache-2.0
 *
 * Providers: where their tokens stand in a request, whether one is good, and what a good one does to
 * the request. Each worker keeps what it has verified (the last ones used, by their whole text), so
 * that a client's next requests cost a look-up; time is checked again each time, and new keys make all of
 * them be verified again. Failures aren't kept. On the exchange's worker but for link and fini.
 */
#include "base/base64.h"
#include "base/clock.h"
#include "base/mem.h"
#include "http/codec/uri.h"
#include "proxy/filter/jwt_authn.h"
#include "proxy/stats/stats.h"

#define SPACE STR("envoy.filters.http.jwt_authn")

struct jwt_verified {
    uint32_t refs; /* this worker's */
    uint32_t generation;
    struct arena arena;
    struct jwt jwt;
    struct str token;
    struct meta_value payload, header; /* META_NULL where nobody wants them */
    struct str forwarded;              /* the payload as it is forwarded; null str */
    struct header *claims; uint32_t claim_count;
    struct list node;                  /* the cache's, last used first */
};

/* ---- where tokens stand ---- */

static bool in_header(const struct jwt_location *l, const struct headers *h, struct str *token)
{
    struct str value = headers_get(h, l->name);
    if (!value.n)
        return false;
    ptrdiff_t at = l->prefix.n ? str_find(value, l->prefix) : 0;
    if (at < 0)
        return false;
    value = str_make(value.p + at + (ptrdiff_t)l->prefix.n, value.n - (size_t)at - l->prefix.n);
    *token = str_trim(value);
    return true;
}

static bool in_cookie(const struct jwt_location *l, const struct headers *h, struct str *token)
{
    for (uint32_t i = 0; i < h->count; i++) {
        struct str rest = h->items[i].value;
        if (h->items[i].id != HDR_COOKIE)
            continue;
        while (rest.n) {
            struct str value, name = str_split(str_trim(str_split(rest, ';', &rest)), '=', &value);
            if (!str_eq(name, l->name))
                continue;
            if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"')
                value = str_make(value.p + 1, value.n - 2);
            *token = value;
            return true;
        }
    }
    return false;
}

static bool at_location(const struct jwt_location *l, const struct headers *h, struct str *token)
{
    switch (l->place) {
    case JWT_IN_HEADER:
        return in_header(l, h, token);
    case JWT_IN_QUERY:
        return query_get(path_query(headers_get_id(h, HDR_PATH)), l->name, token);
    case JWT_IN_COOKIE:
        return in_cookie(l, h, token);
    }
    return false;
}

bool jwt_provider_find(const struct jwt_provider *p, const struct headers *h, uint32_t index, struct jwt_found *out)
{
    out->location = &p->locations[index];
    return at_location(out->location, h, &out->token);
}

/* ---- what a worker has verified ---- */

struct jwt_cache {
    struct map *by_token;
    struct list used;
    uint32_t count;
};

static void verified_free(struct jwt_verified *v)
{
    jwt_fini(&v->jwt);
    arena_fini(&v->arena);
    mem_free(v);
}

void jwt_verified_unref(struct jwt_verified **verified)
{
    struct jwt_verified *v = *verified;
    *verified = NULL;
    if (v && --v->refs == 0)
        verified_free(v);
}

static void cache_drop(struct jwt_cache *c, struct jwt_verified *v)
{
    map_del(c->by_token, v->token);
    list_remove(&v->node);
    c->count--;
    jwt_verified_unref(&v);
}

static struct jwt_cache *cache_of(const struct jwt_provider *p, struct str token)
{
    if (!p->cache_size || token.n > p->cache_token_bytes || stat_thread >= p->cache_threads)
        return NULL;
    struct jwt_cache *c = p->caches[stat_thread];
    if (c)
        return c;
    c = p->caches[stat_thread] = NEW(jwt_cache);
    c->by_token = map_new();
    list_init(&c->used);
    return c;
}

static void cache_free(struct jwt_cache *c)
{
    if (!c)
        return;
    for (struct list *n; (n = list_first(&c->used)) != NULL;)
        cache_drop(c, LIST_ENTRY(n, jwt_verified, node));
    map_free(&c->by_token);
    mem_free(c);
}

/* A reference; NULL: not known, or not by these keys. */
static struct jwt_verified *cache_find(struct jwt_cache *c, struct str token, uint32_t generation)
{
    struct jwt_verified *v = c ? map_get(c->by_token, token) : NULL;
    if (!v)
        return NULL;
    if (v->generation != generation) {
        cache_drop(c, v);
        return NULL;
    }
    list_remove(&v->node);
    list_push_front(&c->used, &v->node);
    v->refs++;
    return v;
}

static void cache_keep(const struct jwt_provider *p, struct jwt_cache *c, struct jwt_verified *v)
{
    if (!c)
        return;
    while (c->count >= p->cache_size)
        cache_drop(c, LIST_ENTRY(list_last(&c->used), jwt_verified, node));
    map_set(c->by_token, v->token, v);
    list_push_front(&c->used, &v->node);
    c->count++;
    v->refs++;
}

/* ---- verifying ---- */

static bool is_among(struct str s, const struct str *all, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (str_eq(s, all[i]))
            return true;
    return false;
}

/* "https://x" and "x/" are "x" (as Envoy takes audiences). */
static struct str bare_audience(struct str s)
{
    if (str_has_prefix(s, STR("https://")))
        s = str_make(s.p + 8, s.n - 8);
    else if (str_has_prefix(s, STR("http://")))
        s = str_make(s.p + 7, s.n - 7);
    if (s.n && s.p[s.n - 1] == '/')
        s.n--;
    return s;
}

static bool fits_audience(const struct jwt *t, const struct str *allowed, uint32_t n)
{
    if (!n)
        return true;
    for (uint32_t i = 0; i < t->audience_count; i++)
        for (uint32_t k = 0; k < n; k++)
            if (str_eq(bare_audience(t->audiences[i]), bare_audience(allowed[k])))
                return true;
    return false;
}

/* What is asked of a token beside its signature; time first, since it changes. */
static enum jwt_status check_claims(const struct jwt_provider *p, const struct jwt_requirement *r, const struct jwt *t, uint64_t now_s)
{
    if (p->issuer.n && !str_eq(t->iss, p->issuer))
        return JWT_UNKNOWN_ISSUER;
    enum jwt_status rc = jwt_check_time(t, now_s, p->skew_s);
    if (rc != JWT_OK)
        return rc;
    if (p->has_subject && !string_matches(&p->subject, t->sub))
        return JWT_SUBJECT_NOT_ALLOWED;
    if ((p->require_expiration || p->max_lifetime_s) && !t->has_exp)
        return JWT_NO_EXPIRATION;
    if (p->max_lifetime_s && (uint64_t)t->exp > p->max_lifetime_s + (t->has_iat ? (uint64_t)t->iat : now_s))
        return JWT_LIVES_TOO_LONG;
    bool own = r && r->has_audiences;
    if (!fits_audience(t, own ? r->audiences : p->audiences, own ? r->audience_count : p->audience_count))
        return JWT_AUDIENCE_NOT_ALLOWED;
    return JWT_OK;
}

static const struct jwks *keys_of(const struct jwt_provider *p, bool has_waited, bool *must_wait)
{
    if (!p->remote)
        return p->local;
    const struct jwks *keys = jwks_source_now(p->remote);
    if (keys)
        return keys;
    if (has_waited)
        return jwks_source_last(p->remote);
    *must_wait = true;
    return NULL;
}

/* ---- what comes of a token ---- */

static struct meta_value to_meta(const struct json_t *j, struct arena *a);

static struct meta_value object_to_meta(const struct json_t *j, struct arena *a)
{
    struct meta_value v = {.kind = META_STRUCT};
    void *at = NULL;
    struct str name;
    const struct json_t *value;
    v.u.fields.items = arena_zalloc(a, (claim_size(j) + 1) * sizeof *v.u.fields.items);
    while (v.u.fields.items && claim_next(j, &at, &name, &value))
        v.u.fields.items[v.u.fields.count++] = (struct meta_field){arena_str(a, name), to_meta(value, a)};
    return v;
}

static struct meta_value to_meta(const struct json_t *j, struct arena *a)
{
    struct meta_value v = {0};
    switch (claim_kind(j)) {
    case CLAIM_BOOL:
        v.kind = META_BOOL;
        v.u.boolean = claim_bool(j);
        break;
    case CLAIM_INTEGER:
    case CLAIM_NUMBER:
        v.kind = META_NUMBER;
        v.u.number = claim_number(j);
        break;
    case CLAIM_TEXT:
        v.kind = META_STRING;
        v.u.string = arena_str(a, claim_text(j));
        break;
    case CLAIM_LIST:
        v.kind = META_LIST;
        v.u.list.items = arena_zalloc(a, (claim_size(j) + 1) * sizeof *v.u.list.items);
        for (size_t i = 0; v.u.list.items && i < claim_size(j); i++)
            v.u.list.items[v.u.list.count++] = to_meta(claim_at(j, i), a);
        break;
    case CLAIM_OBJECT:
        return object_to_meta(j, a);
    case CLAIM_NULL:
        break;
    }
    return v;
}

/* "read write" becomes ["read", "write"]. */
static void split_words(struct meta_value *v, struct arena *a)
{
    struct str rest = v->u.string;
    struct meta_value list = {.kind = META_LIST};
    list.u.list.items = arena_zalloc(a, (rest.n / 2 + 2) * sizeof *list.u.list.items);
    while (list.u.list.items && rest.n) {
        struct str word = str_split(rest, ' ', &rest);
        if (word.n)
            list.u.list.items[list.u.list.count++] = (struct meta_value){.kind = META_STRING, .u.string = word};
    }
    *v = list;
}

static void prepare_metadata(const struct jwt_provider *p, struct jwt_verified *v)
{
    if (p->header_key.n) {
        struct json_t *header = claims_parse(v->jwt.header);
        v->header = to_meta(header, &v->arena);
        claims_free(&header);
    }
    if (!p->payload_key.n)
        return;
    v->payload = to_meta(v->jwt.claims, &v->arena);
    for (uint32_t i = 0; i < v->payload.u.fields.count; i++) {
        struct meta_field *f = &v->payload.u.fields.items[i];
        if (f->value.kind == META_STRING && is_among(f->name, p->space_delimited, p->space_delimited_count))
            split_words(&f->value, &v->arena);
    }
}

static void prepare_payload(const struct jwt_provider *p, struct jwt_verified *v)
{
    struct str payload = v->jwt.payload_base64;
    if (!p->payload_header.n)
        return;
    size_t pad = p->pad_payload ? (4 - payload.n % 4) % 4 : 0;
    v->forwarded = arena_printf(&v->arena, "%.*s%.*s", STR_ARG(payload), (int)pad, "===");
}

/* Numbers and booleans as text, lists and objects as base64 of their JSON. */
static struct str claim_value(const struct json_t *j, struct arena *a)
{
    switch (claim_kind(j)) {
    case CLAIM_TEXT:
        return claim_text(j);
    case CLAIM_BOOL:
        return claim_bool(j) ? STR("true") : STR("false");
    case CLAIM_INTEGER:
        return arena_printf(a, "%lld", (long long)claim_integer(j));
    case CLAIM_NUMBER:
        return arena_printf(a, "%f", claim_number(j)); /* as Envoy writes it */
    case CLAIM_LIST:
    case CLAIM_OBJECT:
        return b64_encode_in(a, claim_json(j, a));
    case CLAIM_NULL:
        break;
    }
    return STR_NULL;
}

static void prepare_claims(const struct jwt_provider *p, struct jwt_verified *v)
{
    v->claims = arena_zalloc(&v->arena, (p->claim_header_count + 1) * sizeof *v->claims);
    for (uint32_t i = 0; v->claims && i < p->claim_header_count; i++) {
        const struct jwt_claim_header *c = &p->claim_headers[i];
        const struct json_t *j = v->jwt.claims;
        for (uint32_t k = 0; j && k < c->path_count; k++)
            j = claim_member(j, c->path[k]);
        struct str value = claim_value(j, &v->arena);
        if (value.n && header_value_is_valid(value))
            v->claims[v->claim_count++] = (struct header){.name = c->header, .value = value};
    }
}

static struct jwt_verified *verified_new(const struct jwt_provider *p, struct str token, uint32_t generation, enum jwt_status *status)
{
    struct jwt_verified *v = NEW(jwt_verified);
    v->refs = 1;
    v->generation = generation;
    list_init(&v->node);
    arena_init(&v->arena, 0);
    v->token = arena_str(&v->arena, token.n > JWT_MAX_BYTES ? STR("") : token);
    *status = jwt_parse(v->token, &v->arena, &v->jwt);
    if (*status == JWT_OK)
        return v;
    verified_free(v);
    (void)p;
    return NULL;
}

enum jwt_status jwt_provider_verify(const struct jwt_provider *p, const struct jwt_requirement *r, struct str token, struct stat_scope *stats,
                                    struct loop *loop, bool has_waited, bool *must_wait, struct jwt_verified **out)
{
    struct jwt_cache *cache = cache_of(p, token);
    uint32_t generation = p->remote ? jwks_source_generation(p->remote) : 0;
    uint64_t now_s = loop_wall_us(loop) / 1000000;
    enum jwt_status rc;
    struct jwt_verified *v = cache_find(cache, token, generation);
    if (v && p->remote && !has_waited && !jwks_source_now(p->remote)) { /* the keys that it was verified with are too old */
        jwt_verified_unref(&v);
        *must_wait = true;
        return JWT_FETCH_FAILED;
    }
    if (v) {
        stat_inc(stats, STAT_JWT_CACHE_HIT);
        rc = check_claims(p, r, &v->jwt, now_s);
        if (rc == JWT_OK)
            *out = v;
        else
            jwt_verified_unref(&v);
        return rc;
    }
    v = verified_new(p, token, generation, &rc);
    if (!v)
        return rc;
    rc = check_claims(p, r, &v->jwt, now_s);
    const struct jwks *keys = rc == JWT_OK ? keys_of(p, has_waited, must_wait) : NULL;
    if (rc == JWT_OK)
        rc = keys ? jwt_verify(&v->jwt, keys) : p->remote ? JWT_FETCH_FAILED : JWT_NO_KEYS;
    if (rc != JWT_OK) {
        jwt_verified_unref(&v);
        return rc;
    }
    stat_inc(stats, STAT_JWT_CACHE_MISS);
    v->generation = p->remote ? jwks_source_generation(p->remote) : 0;
    prepare_metadata(p, v);
    prepare_payload(p, v);
    prepare_claims(p, v);
    cache_keep(p, cache, v);
    *out = v;
    return JWT_OK;
}

/* ---- what a good one does ---- */

/* The query without one parameter. */
static void remove_parameter(struct headers *h, struct str name)
{
    struct str path = headers_get_id(h, HDR_PATH), rest = path_query(path), bare = path_without_query(path);
    struct strbuf out = {0};
    char mark = '?';
    strbuf_adds(&out, bare);
    while (rest.n) {
        struct str value, one = str_split(rest, '&', &rest), key = str_split(one, '=', &value);
        if (str_eq(key, name))
            continue;
        strbuf_addc(&out, mark);
        strbuf_adds(&out, one);
        mark = '&';
    }
    headers_set_id(h, HDR_PATH, strbuf_str(&out));
    strbuf_fini(&out);
}

static void remove_token(const struct jwt_location *l, struct headers *h)
{
    if (l->place == JWT_IN_HEADER)
        headers_remove(h, l->name);
    else if (l->place == JWT_IN_QUERY)
        remove_parameter(h, l->name);
}

/* What the cache holds may go before the request does. */
static void leave(struct http_filter *f, struct str key, const struct meta_value *v)
{
    metadata_set(&exchange_info(f->x)->metadata, exchange_arena(f->x), SPACE, key, v);
}

void jwt_provider_apply(const struct jwt_provider *p, const struct jwt_found *found, const struct jwt_verified *v, struct http_filter *f)
{
    struct headers *h = exchange_request_headers(f->x);
    if (v->forwarded.n)
        headers_add(h, p->payload_header, v->forwarded);
    for (uint32_t i = 0; i < v->claim_count; i++)
        headers_add(h, v->claims[i].name, v->claims[i].value);
    if (v->header.kind == META_STRUCT)
        leave(f, p->header_key, &v->header);
    if (v->payload.kind == META_STRUCT)
        leave(f, p->payload_key, &v->payload);
    if (!p->forward)
        remove_token(found->location, h);
    if (p->clear_route_cache)
        exchange_clear_route_cache(f->x);
}

void jwt_provider_note_failure(const struct jwt_provider *p, enum jwt_status status, struct http_filter *f)
{
    struct meta_field fields[2] = {
        {STR("code"), {.kind = META_NUMBER, .u.number = (double)status}},
        {STR("message"), {.kind = META_STRING, .u.string = str_from(jwt_status_text(status))}},
    };
    struct meta_value v = {.kind = META_STRUCT, .u.fields = {fields, 2}};
    leave(f, p->failed_key, &v);
}

void jwt_provider_sanitize(const struct jwt_provider *p, struct headers *h)
{
    if (p->payload_header.n)
        headers_remove(h, p->payload_header);
    for (uint32_t i = 0; i < p->claim_header_count; i++)
        headers_remove(h, p->claim_headers[i].header);
}

/* ---- main thread ---- */

void jwt_provider_link(struct jwt_provider *p, struct stat_scope *stats)
{
    p->cache_threads = STAT_MAX_THREADS;
    p->caches = mem_zalloc(p->cache_threads * sizeof *p->caches);
    if (p->remote)
        jwks_source_start(p->remote, stats, (struct jwks_source_rows){STAT_JWT_FETCH_SUCCESS, STAT_JWT_FETCH_FAILED});
}

void jwt_provider_fini(struct jwt_provider *p)
{
    for (uint32_t i = 0; p->caches && i < p->cache_threads; i++)
        cache_free(p->caches[i]);
    mem_free(p->caches);
    jwks_unref(&p->local);
    jwks_source_free(&p->remote);
    if (p->has_subject)
        string_match_fini(&p->subject);
}
