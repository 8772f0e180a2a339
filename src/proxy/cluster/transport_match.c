/* SPDX-License-Identifier: Apache-2.0
 *
 * Which transport a host's connections take: the first of the cluster's transport_socket_matches whose criteria all stand
 * in the endpoint's metadata, or in its locality's, under envoy.transport_socket_match; else the cluster's own. Decided when
 * a host is made. Any thread; the spec is immutable.
 */
#include "proxy/cluster/cluster_priv.h"
#include "proxy/config/tls_source.h"
#include "proxy/metadata.h"
#include "proxy/warm.h"

#include "base/mem.h"

#define MATCH_SPACE STR("envoy.transport_socket_match")

#define TRANSPORT_MATCH_STATS(X)                                                                   \
    X(TRANSPORT_MATCH_TOTAL, COUNTER, NONE, "total_match_count", "Hosts that took this transport")
enum { TRANSPORT_MATCH_STATS(STAT_ENUM_ROW) };
static const struct stat_desc rows[] = {TRANSPORT_MATCH_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

static bool holds_all(const struct meta_value *criteria, const struct meta_value *fields)
{
    uint32_t n = criteria->kind == META_STRUCT ? criteria->u.fields.count : 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct meta_field *wanted = &criteria->u.fields.items[i];
        const struct meta_value *there = fields ? meta_field(fields, wanted->name) : NULL;
        if (!there || !meta_equal(there, &wanted->value))
            return false;
    }
    return true;
}

/* Empty criteria fit everything, also where there is no metadata. */
static uint32_t first_fit(const struct cluster_spec *spec, const struct meta_value *fields)
{
    uint32_t i = 0;
    while (i < spec->transport_match_count && !holds_all(&spec->transport_matches[i].criteria, fields))
        i++;
    return i;
}

/* The endpoint's metadata first, against every match; its locality's only when none fitted. */
static uint32_t choose(const struct cluster_spec *spec, const struct meta_value *endpoint, const struct meta_value *locality)
{
    uint32_t i = first_fit(spec, endpoint);
    return i < spec->transport_match_count || !locality ? i : first_fit(spec, locality);
}

static const struct transport_socket_spec *chosen(const struct cluster_spec *spec, uint32_t i)
{
    return i < spec->transport_match_count ? spec->transport_matches[i].transport : spec->transport;
}

static const struct meta_value *fields_of(const struct metadata *m)
{
    return metadata_find(m, MATCH_SPACE, NULL, 0);
}

const struct transport_socket_spec *cluster_transport_of(const struct cluster_spec *spec, const struct metadata *endpoint,
                                                         const struct metadata *locality)
{
    if (!spec->transport_match_count)
        return spec->transport;
    return chosen(spec, choose(spec, fields_of(endpoint), fields_of(locality)));
}

const struct transport_socket_spec *cluster_take_transport(const struct cluster *c, const struct metadata *endpoint,
                                                           const struct metadata *locality)
{
    uint32_t i = 0;
    if (c->spec->transport_match_count)
        i = choose(c->spec, fields_of(endpoint), fields_of(locality));
    if (c->transport_stats)
        stat_inc(c->transport_stats[i], STAT_TRANSPORT_MATCH_TOTAL);
    return chosen(c->spec, i);
}

const struct transport_socket_spec *cluster_transport_by(const struct cluster_spec *spec, const struct meta_value *criteria)
{
    return chosen(spec, choose(spec, criteria, NULL));
}

/* ---- all of them ---- */

void cluster_each_transport(const struct cluster_spec *spec, void (*fn)(const struct transport_socket_spec *t, void *arg), void *arg)
{
    for (uint32_t i = 0; i <= spec->transport_match_count; i++)
        fn(chosen(spec, i), arg);
}

static void find_tls(const struct transport_socket_spec *t, void *arg)
{
    *(bool *)arg |= t->tls != NULL;
}

bool cluster_may_use_tls(const struct cluster_spec *spec)
{
    bool found = false;
    cluster_each_transport(spec, find_tls, &found);
    return found;
}

static void wait_for(const struct transport_socket_spec *t, void *arg)
{
    if (t->tls)
        warmth_wait(arg, tls_source_warm(t->tls));
}

void cluster_wait_for_secrets(const struct cluster_spec *spec, struct warmth *w)
{
    cluster_each_transport(spec, wait_for, w);
}

/* ---- statistics ---- */

void cluster_transport_stats_new(struct cluster *c)
{
    uint32_t n = c->spec->transport_match_count;
    if (!n)
        return;
    c->transport_stats = mem_zalloc((n + 1) * sizeof *c->transport_stats);
    for (uint32_t i = 0; i <= n; i++) {
        struct strbuf suffix = {0};
        struct str name = i < n ? c->spec->transport_matches[i].name : STR("default");
        strbuf_addf(&suffix, ".%.*s.", STR_ARG(name));
        strbuf_addc(&suffix, 0);
        c->transport_stats[i] = cluster_scope(c->spec, strbuf_str(&suffix).p, &table);
        strbuf_fini(&suffix);
    }
}

void cluster_transport_stats_free(struct cluster *c)
{
    for (uint32_t i = 0; c->transport_stats && i <= c->spec->transport_match_count; i++)
        stat_scope_unref(&c->transport_stats[i]);
    mem_free(c->transport_stats);
    c->transport_stats = NULL;
}
