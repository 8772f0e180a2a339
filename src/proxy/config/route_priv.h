/* SPDX-License-Identifier: Apache-2.0
 *
 * Readers of the route messages, one file a concept, and what they hand each other.
 */
#ifndef PROXY_CONFIG_ROUTE_PRIV_H
#define PROXY_CONFIG_ROUTE_PRIV_H

#include "proxy/config/config_priv.h"

struct route_reading {
    const struct retry_policy **last_retry; /* the policy read last in the whole configuration, shared by all that say the same */
    struct arena *a;
    const struct route_config_spec *spec;
    struct route_owned_list *owned;   /* the configuration's, or that of a virtual host that came by itself */
    bool validate_clusters;
    size_t max_direct_body;
    /* the virtual host's, for routes that have none of their own */
    const struct retry_policy *retry;
    const struct hedge_policy *hedge;
    struct mirror_policy *mirrors; uint32_t mirror_count;
    bool count_attempts_request, count_attempts_response;
    bool mark_timeout_retries;
    uint64_t body_limit_bytes, filter_body_limit_bytes; bool has_body_limit;
};
struct cfg_retry { struct retry_policy *policy; struct arena *arena; }; /* EXT_RETRY_HOST, EXT_RETRY_PRIORITY */
struct cfg_path_match { struct route_match *match; };                     /* EXT_PATH_MATCH */
struct cfg_path_rewrite { const struct route_match *match; struct rewrite_rule *rule; }; /* EXT_PATH_REWRITE */
struct cfg_redirect_predicate { struct internal_redirect_policy *policy; struct arena *arena; }; /* EXT_REDIRECT_PREDICATE */

/* route_entry.c */
struct route_entry *cfg_route(struct config_reader *cr, const pb_route *m, struct virtual_host *v, struct route_reading *rr);
/* route_match.c */
void cfg_route_match(struct config_reader *cr, const pb_route_match *m, struct route_match *out, struct arena *a);
struct query_matcher *cfg_query_matchers(struct config_reader *cr, const char *field, pb_query_matcher *const *items, uint32_t n,
                                         struct arena *a);
/* route_action.c */
void cfg_route_action(struct config_reader *cr, const pb_route_action *m, struct route_entry *e, struct route_reading *rr);
const struct rate_limit_rules *cfg_route_rate_limits(struct config_reader *cr, pb_rate_limit *const *items, uint32_t n,
                                                     struct route_reading *rr);
/* route_weighted.c */
void cfg_weighted_clusters(struct config_reader *cr, const pb_route_weighted *m, struct route_entry *e, struct route_reading *rr);
/* route_rewrite.c */
const struct rewrite_rule *cfg_rewrites(struct config_reader *cr, const pb_route_action *m, const struct route_match *match,
                                        struct arena *a);
void cfg_redirect(struct config_reader *cr, const pb_redirect *m, struct route_entry *e, struct arena *a);
struct regex *cfg_regex_rewrite(struct config_reader *cr, const char *field, const pb_regex_rewrite *m, struct arena *a,
                                struct str *substitution);
/* route_retry.c */
const struct retry_policy *cfg_retry_policy(struct config_reader *cr, const pb_retry_policy *m, struct route_reading *rr);
const struct hedge_policy *cfg_hedge_policy(struct config_reader *cr, const pb_hedge_policy *m, struct arena *a);
/* route_policies.c */
struct mirror_policy *cfg_mirrors(struct config_reader *cr, pb_mirror_policy *const *items, uint32_t n, struct route_reading *rr);
struct hash_policy *cfg_hash_policies(struct config_reader *cr, pb_hash_policy *const *items, uint32_t n, struct arena *a,
                                      uint32_t *count);
const struct internal_redirect_policy *cfg_internal_redirect(struct config_reader *cr, const pb_internal_redirect *m, struct arena *a);
const struct max_stream_duration *cfg_max_stream_duration(struct config_reader *cr, const pb_route_action *m, struct arena *a);
/* filter_overrides.c: one entry of a typed_per_filter_config map at the present path. */
bool cfg_filter_override(struct config_reader *cr, struct str name, const pb_any *any, struct arena *a, struct filter_override *out);
/* `m` is any message with typed_per_filter_config. */
#define READ_OVERRIDES(m_, out_, a_)                                                               \
    do {                                                                                           \
        uint32_t n_ = LEN(m_, typed_per_filter_config);                                            \
        (out_)->items = ARENA_ARRAY(a_, struct filter_override, n_);                               \
        for (uint32_t i_ = 0; i_ < n_; i_++) {                                                     \
            __auto_type entry_ = (m_)->typed_per_filter_config[i_];                                \
            IN("typed_per_filter_config[%s]", entry_->key)                                         \
                if (cfg_filter_override(cr, str_from(entry_->key), entry_->value, a_,              \
                                        &(out_)->items[(out_)->count]))                            \
                    (out_)->count++;                                                               \
        }                                                                                          \
    } while (0)
/* Both directions' header rules of any message that has the four lists. */
#define READ_HEADER_RULES(m_, request_, response_, a_)                                             \
    do {                                                                                           \
        uint32_t adds_ = LEN(m_, request_headers_to_add), removes_ = LEN(m_, request_headers_to_remove); \
        cfg_header_rules(cr, "request_headers_to_add", (m_)->request_headers_to_add, adds_,        \
                         "request_headers_to_remove", (m_)->request_headers_to_remove, removes_, a_, request_); \
        adds_ = LEN(m_, response_headers_to_add), removes_ = LEN(m_, response_headers_to_remove);  \
        cfg_header_rules(cr, "response_headers_to_add", (m_)->response_headers_to_add, adds_,      \
                         "response_headers_to_remove", (m_)->response_headers_to_remove, removes_, a_, response_); \
    } while (0)

#endif
