/* SPDX-License-Identifier: Apache-2.0
 *
 * PeerAuthentications, RequestAuthentications and ProxyConfigs (Istio: security/peer_authentication, request_authentication,
 * networking/proxy-config; the webhook's rules). Pure.
 */
#include "model/validate_http.h"
#include "proto/json.h"

#define JWKS_MAX_BYTES ((size_t)1 << 20)

void validate_peer_authentication(struct check *c, const struct object *o)
{
    const ist_peer_authentication *p = (const ist_peer_authentication *)o->body;
    check_selector(c, "selector", p->selector);
    if (p->n_port_level_mtls && (!p->selector || p->selector->n_match_labels == 0))
        check_fault(c, "portLevelMtls", "needs a selector: a mesh or a namespace has no ports");
    for (size_t i = 0; i < p->n_port_level_mtls; i++)
        PROTO_IN (&c->r, "portLevelMtls[\"%u\"]", p->port_level_mtls[i]->key)
            check_port(c, "", p->port_level_mtls[i]->key);
}

/* ---- tokens ---- */

static void check_jwks_uri(struct check *c, const char *uri)
{
    struct str text = str_from(uri), rest;
    if (text.n == 0)
        return;
    if (!str_has_prefix(text, STR("http://")) && !str_has_prefix(text, STR("https://"))) {
        check_fault(c, "jwksUri", "'%s' is not of the form https://host/path", uri);
        return;
    }
    str_split(text, ':', &rest);
    struct str authority = str_split(str_make(rest.p + 2, rest.n - 2), '/', &rest), port;
    ptrdiff_t at = authority.n && authority.p[0] == '[' ? str_find_char(authority, ']') : 0;
    uint64_t number;
    if (authority.n == 0 || at < 0) {
        check_fault(c, "jwksUri", "'%s' has no host", uri);
        return;
    }
    str_split(str_make(authority.p + at, authority.n - (size_t)at), ':', &port);
    if (port.p && (!str_to_u64(port, &number) || number < 1 || number > 65535))
        check_fault(c, "jwksUri", "'%.*s' is not a port", STR_ARG(port));
}

/* A JSON object with `keys`, or one key (RFC 7517, 4 and 5); the keys themselves are looked at where they are used. */
static void check_jwks(struct check *c, const char *jwks)
{
    struct str text = str_from(jwks);
    struct err_list faults = {0};
    bool found = false;
    if (text.n == 0)
        return;
    struct proto_arena *arena = proto_arena_new(JWKS_MAX_BYTES * 16);
    const struct doc_node *root = text.n <= JWKS_MAX_BYTES ? json_read(arena, text, NULL, &faults) : NULL;
    const struct doc_node *keys = root ? doc_member(root, STR("keys")) : NULL;
    found = (keys && keys->kind == DOC_LIST) || (root && doc_member(root, STR("kty")));
    if (!found)
        check_fault(c, "jwks", "is neither a set of JSON web keys nor one of them%s%s", faults.count ? ": " : "",
                    faults.count ? faults.items[0].message : "");
    err_list_fini(&faults);
    proto_arena_free(&arena);
}

static void check_texts(struct check *c, const char *field, size_t n, char *const *items)
{
    for (size_t i = 0; i < n; i++)
        PROTO_IN (&c->r, "%s[%zu]", field, i)
            if (!*items[i])
                check_fault(c, "", "must not be empty");
}

static void check_jwt_rule(struct check *c, const ist_jwt_rule *r)
{
    if (!*r->issuer)
        check_fault(c, "issuer", "is missing");
    check_texts(c, "audiences", r->n_audiences, r->audiences);
    check_texts(c, "fromParams", r->n_from_params, r->from_params);
    check_texts(c, "fromCookies", r->n_from_cookies, r->from_cookies);
    check_texts(c, "spaceDelimitedClaims", r->n_space_delimited_claims, r->space_delimited_claims);
    check_jwks_uri(c, r->jwks_uri);
    check_jwks(c, r->jwks);
    if (*r->jwks_uri && *r->jwks)
        check_fault(c, "jwks", "must not stand beside jwksUri");
    CHECK_EACH (c, i, r->n_from_headers, "fromHeaders") {
        if (!*r->from_headers[i]->name)
            check_fault(c, "name", "is missing");
    }
    CHECK_EACH (c, i, r->n_output_claim_to_headers, "outputClaimToHeaders") {
        if (!*r->output_claim_to_headers[i]->claim)
            check_fault(c, "claim", "is missing");
        if (!is_header_name(str_from(r->output_claim_to_headers[i]->header)))
            check_fault(c, "header", "'%s' is not a header's name", r->output_claim_to_headers[i]->header);
    }
    check_duration(c, "timeout", r->timeout);
}

void validate_request_authentication(struct check *c, const struct object *o)
{
    const ist_request_authentication *r = (const ist_request_authentication *)o->body;
    check_target(c, r->selector, r->target_ref, r->n_target_refs, r->target_refs);
    CHECK_EACH (c, i, r->n_jwt_rules, "jwtRules")
        check_jwt_rule(c, r->jwt_rules[i]);
}

void validate_proxy_config(struct check *c, const struct object *o)
{
    const ist_proxy_config_kind *p = (const ist_proxy_config_kind *)o->body;
    check_selector(c, "selector", p->selector);
    if (p->concurrency)
        check_not_negative(c, "concurrency", p->concurrency->value);
}
