/* SPDX-License-Identifier: Apache-2.0
 *
 * A tree of requirements against one request. It is walked in order; where a token's keys have to be
 * fetched first the walk stops, and is done again from the start once they are there: what was verified is in the
 * worker's cache by then, and nothing has been applied yet. Applying (headers, metadata) comes last,
 * for every token that was found good. On the exchange's worker.
 */
#include "proxy/filter/jwt_authn.h"

#include "base/mem.h"

#define APPLIED_MAX 32 /* tokens of one request */

struct good {
    const struct jwt_provider *provider;
    struct jwt_found found;
    struct jwt_verified *verified;
};
struct jwt_evaluation {
    const struct jwt_requirement *root;
    struct http_filter *f;
    void (*on_done)(void *user, enum jwt_status status);
    void *user;
    struct jwks_wait wait;
    const struct jwt_provider *awaited;
    const struct jwt_provider **waited; /* providers whose keys were fetched for this request */
    uint32_t waited_count;
    struct good good[APPLIED_MAX];
    uint32_t good_count;
};

static enum jwt_status evaluate(struct jwt_evaluation *e, const struct jwt_requirement *r);

static void forget_good(struct jwt_evaluation *e)
{
    for (uint32_t i = 0; i < e->good_count; i++)
        jwt_verified_unref(&e->good[i].verified);
    e->good_count = 0;
}

static bool has_waited(const struct jwt_evaluation *e, const struct jwt_provider *p)
{
    for (uint32_t i = 0; i < e->waited_count; i++)
        if (e->waited[i] == p)
            return true;
    return false;
}

static const struct jwt_authn_config *config_of(const struct jwt_evaluation *e)
{
    return e->f->config;
}

/* A tree may name a provider more than once. */
static bool is_good_already(const struct jwt_evaluation *e, const struct jwt_provider *p, const struct jwt_location *l)
{
    for (uint32_t i = 0; i < e->good_count; i++)
        if (e->good[i].provider == p && e->good[i].found.location == l)
            return true;
    return false;
}

static enum jwt_status try_token(struct jwt_evaluation *e, const struct jwt_provider *p, const struct jwt_requirement *r,
                                 const struct jwt_found *found)
{
    bool must_wait = false;
    struct jwt_verified *v = NULL;
    enum jwt_status rc = jwt_provider_verify(p, r, found->token, config_of(e)->stats, exchange_loop(e->f->x), has_waited(e, p), &must_wait, &v);
    if (must_wait && !e->awaited)
        e->awaited = p;
    if (rc != JWT_OK)
        return rc;
    if (e->good_count < APPLIED_MAX && !is_good_already(e, p, found->location))
        e->good[e->good_count++] = (struct good){p, *found, v};
    else
        jwt_verified_unref(&v);
    return JWT_OK;
}

/* All tokens at a provider's places must be good, one at least must be there. The last place is looked at first, as Envoy
 * does. */
static enum jwt_status try_provider(struct jwt_evaluation *e, const struct jwt_provider *p, const struct jwt_requirement *r)
{
    struct jwt_found found;
    enum jwt_status rc = JWT_MISSING;
    for (uint32_t i = p->location_count; i-- > 0 && (rc == JWT_OK || rc == JWT_MISSING) && !e->awaited;)
        if (jwt_provider_find(p, exchange_request_headers(e->f->x), i, &found))
            rc = try_token(e, p, r, &found);
    return rc;
}

/* What says most of why all of them failed: anything rather than "isn't there". */
static enum jwt_status worse(enum jwt_status a, enum jwt_status b)
{
    bool a_says_little = a == JWT_MISSING || a == JWT_UNKNOWN_ISSUER, b_says_little = b == JWT_MISSING || b == JWT_UNKNOWN_ISSUER;
    if (a_says_little != b_says_little)
        return a_says_little ? b : a;
    return a == JWT_MISSING ? b : a;
}

/* Every token at any provider's place is looked at, as the provider that issued it would; the last one tells. */
static enum jwt_status try_all_of(struct jwt_evaluation *e, const struct jwt_requirement *r)
{
    enum jwt_status rc = JWT_MISSING;
    for (uint32_t i = r->place_count; i-- > 0 && !e->awaited;) {
        const struct jwt_place_of *place = &r->places[i];
        struct jwt_found found;
        enum jwt_status one = JWT_UNKNOWN_ISSUER;
        if (!jwt_provider_find(place->providers[0], exchange_request_headers(e->f->x), place->index, &found))
            continue;
        for (uint32_t k = 0; k < place->provider_count && one == JWT_UNKNOWN_ISSUER && !e->awaited; k++)
            one = try_token(e, place->providers[k], NULL, &found);
        rc = one;
    }
    return rc;
}

static enum jwt_status evaluate_any(struct jwt_evaluation *e, const struct jwt_requirement *r)
{
    enum jwt_status rc = JWT_MISSING;
    bool may_miss = false, may_fail = false;
    for (uint32_t i = 0; i < r->child_count; i++) {
        const struct jwt_requirement *c = &r->children[i];
        if (c->kind == JWT_ALLOW_MISSING || c->kind == JWT_ALLOW_MISSING_OR_FAILED) {
            may_miss |= c->kind == JWT_ALLOW_MISSING;
            may_fail |= c->kind == JWT_ALLOW_MISSING_OR_FAILED;
            continue;
        }
        enum jwt_status one = evaluate(e, c);
        if (one == JWT_OK || e->awaited)
            return one;
        rc = worse(rc, one);
    }
    if (may_fail || (may_miss && rc == JWT_MISSING))
        return JWT_OK;
    return rc;
}

static enum jwt_status evaluate_all(struct jwt_evaluation *e, const struct jwt_requirement *r)
{
    for (uint32_t i = 0; i < r->child_count; i++) {
        enum jwt_status one = evaluate(e, &r->children[i]);
        if (one != JWT_OK || e->awaited)
            return one;
    }
    return JWT_OK;
}

static enum jwt_status evaluate(struct jwt_evaluation *e, const struct jwt_requirement *r)
{
    enum jwt_status rc;
    switch (r->kind) {
    case JWT_REQUIRE_NOTHING:
        return JWT_OK;
    case JWT_REQUIRE_PROVIDER:
        return try_provider(e, r->provider, r);
    case JWT_REQUIRE_ANY:
        return evaluate_any(e, r);
    case JWT_REQUIRE_ALL:
        return evaluate_all(e, r);
    case JWT_ALLOW_MISSING:
        rc = try_all_of(e, r);
        return rc == JWT_MISSING ? JWT_OK : rc;
    case JWT_ALLOW_MISSING_OR_FAILED:
        try_all_of(e, r);
        return JWT_OK;
    }
    return JWT_MISSING;
}

/* ---- carrying it out ---- */

static void note_failures(struct jwt_evaluation *e, enum jwt_status status)
{
    const struct jwt_authn_config *c = config_of(e);
    for (uint32_t i = 0; i < c->provider_count; i++)
        if (c->providers[i].failed_key.n)
            jwt_provider_note_failure(&c->providers[i], status, e->f);
}

static void apply(struct jwt_evaluation *e, enum jwt_status status)
{
    for (uint32_t i = 0; status == JWT_OK && i < e->good_count; i++)
        jwt_provider_apply(e->good[i].provider, &e->good[i].found, e->good[i].verified, e->f);
    if (status != JWT_OK)
        note_failures(e, status);
}

static bool walk(struct jwt_evaluation *e, enum jwt_status *status)
{
    e->awaited = NULL;
    *status = evaluate(e, e->root);
    if (e->awaited) {
        forget_good(e);
        jwks_source_wait(e->awaited->remote, &e->wait);
        return false;
    }
    apply(e, *status);
    forget_good(e);
    return true;
}

static void on_ready(struct jwks_wait *w)
{
    struct jwt_evaluation *e = CONTAINER_OF(w, jwt_evaluation, wait);
    enum jwt_status status;
    e->waited[e->waited_count++] = e->awaited;
    if (walk(e, &status))
        e->on_done(e->user, status);
}

struct jwt_evaluation *jwt_evaluate(const struct jwt_requirement *r, struct http_filter *f,
                                    void (*on_done)(void *user, enum jwt_status status), void *user, enum jwt_status *status)
{
    const struct jwt_authn_config *c = f->config;
    struct arena *a = exchange_arena(f->x);
    struct jwt_evaluation *e = arena_zalloc(a, sizeof *e);
    const struct jwt_provider **waited = arena_zalloc(a, (c->provider_count + 1) * sizeof *waited);
    *status = JWT_MISSING;
    if (!e || !waited)
        return NULL;
    *e = (struct jwt_evaluation){.root = r, .f = f, .on_done = on_done, .user = user, .waited = waited};
    e->wait.on_ready = on_ready;
    return walk(e, status) ? NULL : e;
}

void jwt_evaluation_cancel(struct jwt_evaluation **evaluation)
{
    struct jwt_evaluation *e = *evaluation;
    *evaluation = NULL;
    if (!e)
        return;
    jwks_wait_cancel(&e->wait);
    forget_good(e);
}
