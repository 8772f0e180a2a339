/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.http.jwt_authn: what it is configured to do (proxy/config/jwt_authn.c), and what its
 * files share: tokens and providers (jwt_provider.c), trees of requirements (jwt_requirement.c), the
 * filter (jwt_authn.c).
 */
#ifndef PROXY_FILTER_JWT_AUTHN_H
#define PROXY_FILTER_JWT_AUTHN_H

#include "base/map.h"
#include "pki/jwt.h"
#include "proxy/filter/http_filter.h"
#include "proxy/match/string_match.h"
#include "proxy/metadata.h"
#include "proxy/route/match.h"
#include "proxy/service/jwks_source.h"
#include "proxy/stats/stats.h"

#define JWT_AUTHN_STATS(X)                                                                         \
    X(JWT_ALLOWED, COUNTER, NONE, "allowed", "Requests that went on")                              \
    X(JWT_CORS_BYPASSED, COUNTER, NONE, "cors_preflight_bypassed", "CORS preflights that were let through") \
    X(JWT_DENIED, COUNTER, NONE, "denied", "Requests refused")                                     \
    X(JWT_FETCH_SUCCESS, COUNTER, NONE, "jwks_fetch_success", "Key sets fetched")                  \
    X(JWT_FETCH_FAILED, COUNTER, NONE, "jwks_fetch_failed", "Key sets that could not be fetched")  \
    X(JWT_CACHE_HIT, COUNTER, NONE, "jwt_cache_hit", "Tokens that had been verified before")       \
    X(JWT_CACHE_MISS, COUNTER, NONE, "jwt_cache_miss", "Tokens that had not")
enum jwt_authn_stat { JWT_AUTHN_STATS(STAT_ENUM_ROW) };

enum jwt_place { JWT_IN_HEADER, JWT_IN_QUERY, JWT_IN_COOKIE };
struct jwt_location { enum jwt_place place; struct str name /* header: lower case */, prefix; };
struct jwt_claim_header { struct str header, *path; uint32_t path_count; };

struct jwt_cache;
struct jwt_provider {
    struct str name, issuer;         /* "": any */
    struct str *audiences; uint32_t audience_count; /* none: any */
    bool has_subject; struct string_match subject;
    bool require_expiration; uint64_t max_lifetime_s; /* 0: any */
    uint64_t skew_s;                 /* 60 */
    struct jwt_location *locations; uint32_t location_count;
    bool forward, clear_route_cache;
    struct str payload_header; bool pad_payload; /* "": none */
    struct str payload_key, header_key, failed_key; /* in dynamic metadata */
    struct str *space_delimited; uint32_t space_delimited_count;
    struct jwt_claim_header *claim_headers; uint32_t claim_header_count;
    struct jwks *local;              /* owned; NULL: … */
    struct jwks_source_spec remote_spec; struct jwks_source *remote; /* … fetched */
    uint32_t cache_size, cache_token_bytes; /* 0: none kept */
    struct jwt_cache **caches;       /* by stat_thread, each its own thread's; made by link */
    uint32_t cache_threads;
};

/* A place, and the providers whose tokens may stand there. `index`: among the first one's. */
struct jwt_place_of { const struct jwt_location *location; const struct jwt_provider **providers; uint32_t provider_count, index; };

enum jwt_requirement_kind { JWT_REQUIRE_NOTHING, JWT_REQUIRE_PROVIDER, JWT_REQUIRE_ANY, JWT_REQUIRE_ALL,
                            JWT_ALLOW_MISSING, JWT_ALLOW_MISSING_OR_FAILED };
struct jwt_requirement {
    enum jwt_requirement_kind kind;
    const struct jwt_provider *provider;
    struct str *audiences; uint32_t audience_count; bool has_audiences; /* in place of the provider's */
    struct jwt_requirement *children; uint32_t child_count;
    struct jwt_place_of *places; uint32_t place_count; /* allow_missing and such: of all providers, in order */
};
struct jwt_rule { struct route_match match; const struct jwt_requirement *requirement; /* NULL: nothing is required */ };

struct jwt_authn_config {            /* in an arena of the chain's */
    struct str stat_prefix;
    struct jwt_provider *providers; uint32_t provider_count;
    struct map *requirements;        /* name -> struct jwt_requirement; owned */
    struct str requirement_names;    /* "a,b", for people */
    struct jwt_rule *rules; uint32_t rule_count;
    struct str filter_state_name; struct map *filter_state_rules; /* value -> requirement; NULL none */
    bool bypass_cors_preflight, strip_failure_response;
    struct stat_scope *stats;
};
struct jwt_authn_route_config { bool disabled; struct str requirement_name; };
void jwt_authn_config_free(void *config);
extern const struct http_filter_def jwt_authn_filter;

/* ---- jwt_provider.c: one token, and what a good one does ---- */

/* A verified token with all that comes of it; kept by a worker's cache and by requests. */
struct jwt_verified;
struct jwt_found { struct str token; const struct jwt_location *location; };
/* What stands at the provider's place `index`; false: nothing. */
bool jwt_provider_find(const struct jwt_provider *p, const struct headers *h, uint32_t index, struct jwt_found *out);
/* JWT_OK with *out (a reference); *must_wait: keys have to be fetched first. `audiences`: in place of the provider's. */
enum jwt_status jwt_provider_verify(const struct jwt_provider *p, const struct jwt_requirement *r, struct str token, struct stat_scope *stats,
                                    struct loop *loop, bool has_waited, bool *must_wait, struct jwt_verified **out);
void jwt_verified_unref(struct jwt_verified **v);
/* Removes, forwards and adds headers; dynamic metadata. */
void jwt_provider_apply(const struct jwt_provider *p, const struct jwt_found *found, const struct jwt_verified *v, struct http_filter *f);
void jwt_provider_note_failure(const struct jwt_provider *p, enum jwt_status status, struct http_filter *f);
/* Headers that only we may set. */
void jwt_provider_sanitize(const struct jwt_provider *p, struct headers *h);
void jwt_provider_link(struct jwt_provider *p, struct stat_scope *stats);
void jwt_provider_fini(struct jwt_provider *p);

/* ---- jwt_requirement.c ---- */
struct jwt_evaluation;
/* Evaluates r; on_done never comes from inside. JWT_OK or a failure at once: returns true with *status. */
struct jwt_evaluation *jwt_evaluate(const struct jwt_requirement *r, struct http_filter *f,
                                    void (*on_done)(void *user, enum jwt_status status), void *user, enum jwt_status *status);
void jwt_evaluation_cancel(struct jwt_evaluation **e); /* NULL is fine */

#endif
