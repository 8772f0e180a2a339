/* SPDX-License-Identifier: Apache-2.0
 *
 * stats_config: tags, which statistics exist, histogram buckets. Main thread.
 */
#include "proxy/stats/stats_config.h"

#include "base/mem.h"
#include "proxy/config/config_priv.h"

#include <stdio.h>

#define MATCHER(x) ENVOY__CONFIG__METRICS__V3__STATS_MATCHER__STATS_MATCHER_##x
#define TAG(x) ENVOY__CONFIG__METRICS__V3__TAG_SPECIFIER__TAG_VALUE_##x

static void read_tags(struct config_reader *cr, const pb_stats_config *m, struct stats_config *c)
{
    uint32_t n = LEN(m, stats_tags);
    c->tags = ARENA_ARRAY(&c->arena, struct stats_tag_spec, n);
    for (uint32_t i = 0; i < n; i++)
        IN("stats_tags[%u]", i) {
            const pb_tag_specifier *t = m->stats_tags[i];
            struct stats_tag_spec *out = &c->tags[c->tag_count++];
            struct err err = {0};
            out->name = arena_str(&c->arena, TEXT(t, tag_name));
            if (t->tag_value_case == TAG(FIXED_VALUE)) {
                out->fixed_value = arena_str(&c->arena, TEXT(t, fixed_value));
            } else if (t->tag_value_case == TAG(REGEX) && TEXT(t, regex).n) {
                out->regex = regex_new_ecmascript(str_from(t->regex), &err);
                if (!out->regex)
                    cfg_fault_err(cr, "regex", &err);
            }
        }
}

static struct string_match *read_patterns(struct config_reader *cr, const pb_list_string_matcher *m, struct stats_config *c)
{
    uint32_t n = LEN(m, patterns);
    struct string_match *out = ARENA_ARRAY(&c->arena, struct string_match, n);
    c->pattern_count = n;
    for (uint32_t i = 0; i < n; i++)
        IN("patterns[%u]", i)
            cfg_string_match(cr, m->patterns[i], &out[i]);
    return out;
}

static void read_matcher(struct config_reader *cr, const pb_stats_matcher *m, struct stats_config *c)
{
    switch (m->stats_matcher_case) {
    case MATCHER(REJECT_ALL):
        c->filter = GET(m, reject_all) ? STATS_REJECT_ALL : STATS_KEEP_ALL;
        break;
    case MATCHER(EXCLUSION_LIST):
        c->filter = STATS_EXCLUDE;
        IN("exclusion_list")
            c->patterns = read_patterns(cr, GET(m, exclusion_list), c);
        break;
    case MATCHER(INCLUSION_LIST):
        c->filter = STATS_INCLUDE;
        IN("inclusion_list")
            c->patterns = read_patterns(cr, GET(m, inclusion_list), c);
        break;
    default:
        FAULT("", "one of reject_all, exclusion_list and inclusion_list must be set");
    }
}

static void read_buckets(struct config_reader *cr, const pb_stats_config *m, struct stats_config *c)
{
    uint32_t n = LEN(m, histogram_bucket_settings);
    c->buckets = ARENA_ARRAY(&c->arena, struct stats_bucket_spec, n);
    for (uint32_t i = 0; i < n; i++)
        IN("histogram_bucket_settings[%u]", i) {
            const pb_bucket_settings *b = m->histogram_bucket_settings[i];
            struct stats_bucket_spec *out = &c->buckets[c->bucket_count++];
            if (GET(b, match))
                IN("match")
                    cfg_string_match(cr, b->match, &out->match);
            out->bound_count = LEN(b, buckets);
            out->bounds = ARENA_ARRAY(&c->arena, double, out->bound_count);
            for (uint32_t j = 0; j < out->bound_count; j++) {
                out->bounds[j] = b->buckets[j];
                if (j && b->buckets[j] <= b->buckets[j - 1])
                    FAULT("buckets", "must be in ascending order");
            }
        }
}

void cfg_stats(struct config_reader *cr, const pb_stats_config *m)
{
    if (!m)
        return;
    struct stats_config *c = cr->out->stats = NEW(stats_config);
    arena_init(&c->arena, 0);
    IN("stats_config") {
        read_tags(cr, m, c);
        c->use_all_default_tags = proto_bool_or(GET(m, use_all_default_tags), true);
        if (GET(m, stats_matcher))
            IN("stats_matcher")
                read_matcher(cr, m->stats_matcher, c);
        read_buckets(cr, m, c);
    }
}

void stats_config_free(struct stats_config **p)
{
    struct stats_config *c = *p;
    *p = NULL;
    if (!c)
        return;
    for (uint32_t i = 0; i < c->tag_count; i++)
        regex_free(&c->tags[i].regex);
    for (uint32_t i = 0; i < c->pattern_count; i++)
        string_match_fini(&c->patterns[i]);
    for (uint32_t i = 0; i < c->bucket_count; i++)
        string_match_fini(&c->buckets[i].match);
    arena_fini(&c->arena);
    mem_free(c);
}

bool stats_config_keeps(const struct stats_config *c, struct str name)
{
    if (!c || c->filter == STATS_KEEP_ALL)
        return true;
    if (c->filter == STATS_REJECT_ALL)
        return false;
    bool any = false;
    for (uint32_t i = 0; !any && i < c->pattern_count; i++)
        any = string_matches(&c->patterns[i], name);
    return any == (c->filter == STATS_INCLUDE);
}
