/* SPDX-License-Identifier: Apache-2.0
 *
 * What a subscription counts, under its owner's prefix (Envoy: "xDS subscription statistics"). A scope is only made once discovery
 * has started: subscriptions that configuration brings are older than the statistics. Main thread.
 */
#include <xxhash.h>

#include "base/mem.h"
#include "proxy/discovery/discovery_priv.h"

#define SUBSCRIPTION_STATS(X)                                                                      \
    X(SUB_ATTEMPT, COUNTER, NONE, "update_attempt", "Requests and responses")                      \
    X(SUB_FAILURE, COUNTER, NONE, "update_failure", "Streams that failed")                         \
    X(SUB_REJECTED, COUNTER, NONE, "update_rejected", "Updates that were refused")                 \
    X(SUB_SUCCESS, COUNTER, NONE, "update_success", "Updates that were taken")                     \
    X(SUB_TIMEOUT, COUNTER, NONE, "init_fetch_timeout", "First answers that didn't come in time")  \
    X(SUB_TIME, GAUGE, MS, "update_time", "When an update was last taken, milliseconds since 1970") \
    X(SUB_VERSION, GAUGE, NONE, "version", "xxHash64 of the version")                              \
    X(SUB_VERSION_TEXT, TEXT, NONE, "version_text", "The version of the last update taken")        \
    X(SUB_DURATION, HISTOGRAM, MS, "update_duration", "How long an update took")
enum { SUBSCRIPTION_STATS(STAT_ENUM_ROW) };
static const struct stat_desc rows[] = {SUBSCRIPTION_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

struct subscription_stats {
    struct stat_scope *scope;
    struct str prefix;
};

/* "cluster.<name>." and "http.<stat_prefix>.rds.<name>." hold names, which are tags; other prefixes are fixed. */
static struct stat_scope *make_scope(struct str prefix)
{
    struct stat_tag tags[2];
    struct str rest = prefix;
    if (str_has_prefix(prefix, STR("cluster."))) {
        tags[0] = (struct stat_tag){STR("envoy.cluster_name"), str_make(prefix.p + 8, prefix.n - 9)};
        return stat_scope_get(prefix, &table, STR("cluster."), tags, 1);
    }
    ptrdiff_t rds = str_find(prefix, STR(".rds."));
    if (str_has_prefix(prefix, STR("http.")) && rds > 5) {
        rest = str_make(prefix.p + rds + 5, prefix.n - (size_t)rds - 6);
        tags[0] = (struct stat_tag){STR("envoy.http_conn_manager_prefix"), str_make(prefix.p + 5, (size_t)rds - 5)};
        tags[1] = (struct stat_tag){STR("envoy.rds_route_config"), rest};
        return stat_scope_get(prefix, &table, STR("http.rds."), tags, 2);
    }
    return stat_scope_get(prefix, &table, prefix, NULL, 0);
}

static struct stat_scope *scope_of(struct subscription_stats *s)
{
    if (s && !s->scope && discovery.server)
        s->scope = make_scope(s->prefix);
    return s ? s->scope : NULL;
}

struct subscription_stats *subscription_stats_new(struct str prefix)
{
    if (!prefix.n)
        return NULL;
    struct subscription_stats *s = NEW(subscription_stats);
    s->prefix = str_dup(prefix);
    return s;
}

void subscription_stats_free(struct subscription_stats **stats)
{
    struct subscription_stats *s = *stats;
    *stats = NULL;
    if (!s)
        return;
    stat_scope_unref(&s->scope);
    str_free(&s->prefix);
    mem_free(s);
}

static void count(struct subscription_stats *s, uint32_t row)
{
    struct stat_scope *scope = scope_of(s);
    if (scope)
        stat_inc(scope, row);
}

void subscription_stats_attempt(struct subscription_stats *s)
{
    count(s, STAT_SUB_ATTEMPT);
}

void subscription_stats_failure(struct subscription_stats *s)
{
    count(s, STAT_SUB_FAILURE);
    count(s, STAT_SUB_ATTEMPT);
}

void subscription_stats_timeout(struct subscription_stats *s)
{
    count(s, STAT_SUB_TIMEOUT);
    count(s, STAT_SUB_ATTEMPT);
}

void subscription_stats_rejected(struct subscription_stats *s)
{
    count(s, STAT_SUB_REJECTED);
    count(s, STAT_SUB_ATTEMPT);
}

void subscription_stats_success(struct subscription_stats *s, struct str version, uint64_t now_us, uint64_t took_us)
{
    struct stat_scope *scope = scope_of(s);
    if (!scope)
        return;
    stat_inc(scope, STAT_SUB_SUCCESS);
    stat_inc(scope, STAT_SUB_ATTEMPT);
    stat_set(scope, STAT_SUB_TIME, now_us / 1000);
    stat_set(scope, STAT_SUB_VERSION, XXH64(version.n ? version.p : "", version.n, 0));
    stat_set_text(scope, STAT_SUB_VERSION_TEXT, version);
    stat_record(scope, STAT_SUB_DURATION, took_us / 1000);
}
