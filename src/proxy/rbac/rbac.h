/* SPDX-License-Identifier: Apache-2.0
 *
 * Role-based access control (config.rbac.v3.RBAC): named policies, of which the first one (by name) that fits a request or
 * connection decides. An engine is built once on the main thread and then only read: deciding takes no memory, no lock and
 * no I/O. Policies are found by what they cannot do without (index.c), so that many of them cost what the few that may
 * fit cost.
 *
 * Names of peers come from certificates that were verified in the handshake and from nowhere else: an unverified one counts
 * as none.
 */
#ifndef PROXY_RBAC_RBAC_H
#define PROXY_RBAC_RBAC_H

#include "base/arena.h"
#include "io/addr.h"
#include "proxy/match/header_match.h"
#include "proxy/match/path_template.h"
#include "proxy/route/match.h"
#include "proxy/stream_info.h"

/* ---- what is asked ---- */

struct rbac_peer {
    bool is_tls;
    bool is_verified;                /* it presented a certificate and that was verified; without it there are no names */
    const struct str *uri_sans, *dns_sans, *ip_sans, *email_sans; /* ended by a null str; NULL: none */
    struct str subject;
};
struct format_context;
struct rbac_input {
    const struct headers *headers;   /* NULL: a connection */
    const struct stream_info *info;
    const struct addr *connection_remote; /* source_ip: the connection's peer, which x-forwarded-for doesn't change */
    const struct metadata *route_metadata;
    const struct format_context *format;  /* for conditions */
    struct str path;                 /* without query and fragment; null str: none */
    struct rbac_peer peer;
    struct str supposed[2];          /* the name that a rehearsed request's peer would have */
};
/* All of it but `route_metadata` and `format`, from what is known of an exchange or connection. Certificates are only looked
 * at where `wants_peer` (rbac_engine_wants_peer of any engine). */
void rbac_input_init(struct rbac_input *in, const struct headers *h, const struct stream_info *info, bool wants_peer);

/* ---- rules: permissions and principals in one tree ---- */

#define RBAC_RULE_TABLE(X)                                                                         \
    X(RBAC_ANY, "any") X(RBAC_AND, "and") X(RBAC_OR, "or") X(RBAC_NOT, "not") X(RBAC_HEADER, "header") \
    X(RBAC_PATH, "url_path") X(RBAC_TEMPLATE, "uri_template") X(RBAC_METADATA, "metadata")         \
    X(RBAC_ROUTE_METADATA, "sourced_metadata") X(RBAC_FILTER_STATE, "filter_state")                \
    X(RBAC_AUTHENTICATED, "authenticated") X(RBAC_VALIDATED, "mtls_authenticated") X(RBAC_SAN, "mtls_authenticated") \
    X(RBAC_SOURCE_IP, "source_ip") X(RBAC_DIRECT_REMOTE_IP, "direct_remote_ip") X(RBAC_REMOTE_IP, "remote_ip") \
    X(RBAC_DESTINATION_IP, "destination_ip") X(RBAC_PORT, "destination_port") X(RBAC_PORTS, "destination_port_range") \
    X(RBAC_SERVER_NAME, "requested_server_name")
enum rbac_rule_kind {
#define X(id, name) id,
    RBAC_RULE_TABLE(X)
#undef X
};
enum rbac_san { RBAC_SAN_URI, RBAC_SAN_DNS, RBAC_SAN_IP, RBAC_SAN_EMAIL };

struct rbac_rule {
    enum rbac_rule_kind kind;
    bool any_name;                   /* AUTHENTICATED without a name: whoever speaks TLS */
    enum rbac_san san;
    union {
        struct { struct rbac_rule *items; uint32_t count; } children; /* AND, OR; NOT: one */
        struct header_matcher header;
        struct string_match text;    /* PATH, AUTHENTICATED, SAN, SERVER_NAME */
        struct path_template *path_template;
        struct metadata_matcher metadata;
        struct filter_state_matcher filter_state;
        struct cidr cidr;
        struct { int32_t start, end; } ports; /* half open */
    } u;
    struct str shown;                /* TEMPLATE: its text */
};
bool rbac_rule_matches(const struct rbac_rule *r, const struct rbac_input *in);
bool rbac_rule_has(const struct rbac_rule *r, uint32_t kinds); /* a rule of one of these kinds (bits 1 << kind), at any depth */

/* ---- engines ---- */

enum rbac_action { RBAC_ALLOW, RBAC_DENY, RBAC_LOG };
struct cel;
struct rbac_policy {
    struct str name;
    struct rbac_rule permissions, principals; /* both must match; each an OR of what the policy lists */
    struct cel *condition;           /* and this; NULL: none. Owned */
    struct str condition_text;
};
struct matcher;
struct rbac_tree_action {            /* what a matcher tree leads to (config.rbac.v3.Action) */
    struct str name;
    enum rbac_action action;
    uint32_t index;                  /* among the engine's actions */
};

struct rbac_engine;
/* Empty, with an arena for what the caller puts into it. */
struct rbac_engine *rbac_engine_new(enum rbac_action action);
struct arena *rbac_engine_arena(struct rbac_engine *e);
/* Room for `count` policies, to be filled (in any order; of equal names the last one counts); then rbac_engine_build. */
struct rbac_policy *rbac_engine_policies(struct rbac_engine *e, uint32_t count);
void rbac_engine_build(struct rbac_engine *e);
/* A matcher tree instead of policies; takes what the tree owns. `actions`: all that it may lead to, in the engine's arena. */
void rbac_engine_use_tree(struct rbac_engine *e, struct matcher *take_tree, const struct rbac_tree_action *const *actions,
                          uint32_t count);
void rbac_engine_free(struct rbac_engine **e);

bool rbac_engine_wants_peer(const struct rbac_engine *e); /* NULL: no */
/* Nothing that other filters leave (metadata, filter state), and no condition, decides. */
bool rbac_engine_is_settled(const struct rbac_engine *e);
/* Names that a verdict may carry, for statistics. */
uint32_t rbac_engine_name_count(const struct rbac_engine *e);
struct str rbac_engine_name(const struct rbac_engine *e, uint32_t index);

struct rbac_verdict {
    bool is_allowed;
    bool says_log, log;              /* what is to be left as access_log_hint, where there is something to be left */
    struct str policy;               /* the one that decided; null str: none did */
    uint32_t policy_index;           /* of rbac_engine_name; meaningless without a policy */
};
struct rbac_verdict rbac_decide(const struct rbac_engine *e, const struct rbac_input *in);

/* ---- in words, explain.c ---- */

/* What decides first, then a line for each policy before it (at most `max`; a last line tells how many were left out):
 * "policy b denies", "policy a doesn't fit: permissions: url_path wants prefix \"/a\", has \"/b\"". */
void rbac_explain(const struct rbac_engine *e, const struct rbac_input *in, uint32_t max,
                  void (*say)(void *arg, struct str line), void *arg);

#endif
