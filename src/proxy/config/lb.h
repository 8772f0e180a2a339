/* SPDX-License-Identifier: Apache-2.0
 *
 * How a cluster balances, from its message. EXT_LB_POLICY readers fill a cfg_lb's spec; what it points
 * to goes into the arena.
 */
#ifndef PROXY_CONFIG_LB_H
#define PROXY_CONFIG_LB_H

#include "proxy/config/config_priv.h"
#include "proxy/lb/lb.h"

struct cfg_lb {
    struct lb_policy_spec *spec;
    struct arena *arena;
};
extern const struct lb_policy_spec cfg_lb_defaults;

/* lb.c: shared (config/shared.h); never NULL. */
const struct lb_policy_spec *cfg_cluster_lb(struct config_reader *cr, const pb_cluster *m);

/* lb_policies.c: the first policy of the list that is known. */
void cfg_lb_policies(struct config_reader *cr, const pb_lb_policies *m, struct cfg_lb *out);

/* Shared by both forms, whose messages have the same members but different types. */
double cfg_lb_bias(struct config_reader *cr, const Envoy__Config__Core__V3__RuntimeDouble *m, const char *field, bool may_be_zero);
void cfg_lb_selector(struct config_reader *cr, struct arena *a, char **keys, size_t n, char **fallback_keys, size_t fallback_n,
                     struct lb_subset_selector *out);
void cfg_lb_ring_sizes(struct config_reader *cr, struct lb_policy_spec *lb, const Google__Protobuf__UInt64Value *least,
                       const Google__Protobuf__UInt64Value *most);
void cfg_lb_table_size(struct config_reader *cr, struct lb_policy_spec *lb, const Google__Protobuf__UInt64Value *size);
uint32_t cfg_lb_percent(const Envoy__Type__V3__Percent *p, uint32_t unset); /* rounded */

#define CFG_LB_SLOW_START(m_)                                                                      \
    do {                                                                                           \
        __auto_type slow_ = (m_);                                                                  \
        if (slow_)                                                                                 \
            IN("slow_start_config") {                                                              \
                lb->slow_start_ms = proto_ms_or(GET(slow_, slow_start_window), 0);                 \
                lb->slow_start_aggression = cfg_lb_bias(cr, GET(slow_, aggression), "aggression", false); \
                __auto_type least_ = GET(slow_, min_weight_percent);                               \
                lb->slow_start_min_pct = least_ ? GET(least_, value) : 10;                         \
            }                                                                                      \
    } while (0)

#define CFG_LB_ZONE_AWARE(m_)                                                                      \
    do {                                                                                           \
        __auto_type zone_ = (m_);                                                                  \
        __auto_type enabled_ = GET(zone_, routing_enabled);                                        \
        __auto_type size_ = GET(zone_, min_cluster_size);                                          \
        lb->locality = LB_ZONE_AWARE;                                                              \
        if (enabled_)                                                                              \
            (void)GET(enabled_, value);                                                            \
        lb->zone_routing_pct = cfg_lb_percent(enabled_, 100);                                      \
        lb->zone_min_size = size_ ? (uint32_t)(size_->value > UINT32_MAX ? UINT32_MAX : size_->value) : 6; \
        lb->fail_on_panic = GET(zone_, fail_traffic_on_panic);                                     \
    } while (0)

/* `P_`: the enum values' prefix; the two messages number theirs alike. */
#define CFG_LB_SUBSET(m_, a_)                                                                      \
    ({                                                                                             \
        __auto_type sub_ = (m_);                                                                   \
        struct lb_subset_spec *spec_ = arena_zalloc(a_, sizeof *spec_);                            \
        spec_->fallback = GET(sub_, fallback_policy) == 1 ? SUBSET_ANY :                           \
                          sub_->fallback_policy == 2 ? SUBSET_DEFAULT : SUBSET_NO_FALLBACK;        \
        spec_->default_subset = cfg_struct(cr, GET(sub_, default_subset), a_);                     \
        spec_->locality_weight_aware = GET(sub_, locality_weight_aware);                           \
        spec_->scale_locality_weight = GET(sub_, scale_locality_weight);                           \
        spec_->panic_mode_any = GET(sub_, panic_mode_any);                                         \
        spec_->list_as_any = GET(sub_, list_as_any);                                               \
        spec_->fallback_list = GET(sub_, metadata_fallback_policy) == 1;                           \
        spec_->selector_count = LEN(sub_, subset_selectors);                                       \
        spec_->selectors = ARENA_ARRAY(a_, struct lb_subset_selector, spec_->selector_count);      \
        for (uint32_t i_ = 0; i_ < spec_->selector_count; i_++) {                                  \
            __auto_type sel_ = sub_->subset_selectors[i_];                                         \
            static const enum lb_subset_fallback kinds_[] = {SUBSET_UNDEFINED, SUBSET_NO_FALLBACK, SUBSET_ANY, SUBSET_DEFAULT, \
                                                             SUBSET_KEYS};                         \
            uint32_t kind_ = (uint32_t)GET(sel_, fallback_policy);                                 \
            spec_->selectors[i_].single_host = GET(sel_, single_host_per_subset);                  \
            spec_->selectors[i_].fallback = kind_ < 5 ? kinds_[kind_] : SUBSET_UNDEFINED;          \
            (void)LEN(sel_, keys), (void)LEN(sel_, fallback_keys_subset);                          \
            IN("subset_selectors[%u]", i_)                                                         \
                cfg_lb_selector(cr, a_, sel_->keys, sel_->n_keys, sel_->fallback_keys_subset,      \
                                sel_->n_fallback_keys_subset, &spec_->selectors[i_]);              \
        }                                                                                          \
        spec_;                                                                                     \
    })

#endif
