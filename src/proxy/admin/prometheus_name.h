/* SPDX-License-Identifier: Apache-2.0
 *
 * Room-private: a statistic's name as Prometheus knows it. What varies (a cluster's name, a status
 * code, a cipher) moves from the name into labels: Envoy's default tags and those of stats_config.
 */
#ifndef PROXY_ADMIN_PROMETHEUS_NAME_H
#define PROXY_ADMIN_PROMETHEUS_NAME_H

#include "proxy/stats/registry.h"
#include "proxy/stats/stats_config.h"

struct prometheus_naming {
    struct strbuf metric, labels; /* of the last sample: envoy_x_y, a="b",c="d" */
    const struct stats_config *config;
    bool has_regexes;
    /* What is the same for all samples of a scope. */
    const struct stat_scope *scope;
    struct strbuf scope_labels, scope_name; /* scope_name: used where not all default tags are on */
    bool scope_is_plain;                    /* the scope's extracted name can be used as it is */
    struct strbuf name;                     /* scratch */
};
void prometheus_naming_init(struct prometheus_naming *n, const struct stats_config *config);
void prometheus_naming_fini(struct prometheus_naming *n);
void prometheus_name(struct prometheus_naming *n, const struct stat_sample *s);
/* The same for all rows of a scope's table, where there are no expressions. First the scope: fills scope_labels and returns
 * its name without what labels tell (borrowed until the next scope); then rows of it: `metric`, and `labels` without the
 * scope's. */
struct str prometheus_scope_name(struct prometheus_naming *n, const struct stat_scope *s);
void prometheus_row_name(struct prometheus_naming *n, struct str row);

#endif
