/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/stats/registry.h"
#include "proxy/stats/stats_config.h"

#include "../unit.h"

static const struct stat_desc rows[] = {
    {"upstream_cx_total", STAT_COUNTER, STAT_UNIT_NONE, ""},
    {"upstream_cx_active", STAT_GAUGE, STAT_UNIT_NONE, ""},
    {"upstream_rq_time", STAT_HISTOGRAM, STAT_UNIT_MS, ""},
    {"upstream_rq_5xx", STAT_COUNTER, STAT_UNIT_NONE, ""},
};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};
static const struct stat_desc no_rows[1];
static const struct stat_table tls_table = {no_rows, 0};

static struct stat_scope *cluster(const char *name, const char *suffix, const struct stat_table *t)
{
    char prefix[128], bare[64];
    snprintf(prefix, sizeof(prefix), "cluster.%s%s", name, suffix);
    snprintf(bare, sizeof(bare), "cluster%s", suffix);
    struct stat_tag tag = {STR("envoy.cluster_name"), str_from(name)};
    return stat_scope_get(str_from(prefix), t, str_from(bare), &tag, 1);
}

/* The page for a query, as one NUL-terminated text. */
static char *page(const char *query)
{
    struct admin_request rq = {.method = STR("GET"), .path = STR("/stats/prometheus"), .query = str_from(query), .status = 200};
    page_stats_prometheus(&rq);
    assert_int_equal(rq.status, 200);
    struct str piece;
    for (struct buf_iter it = {0}; buf_next(&rq.long_body, &it, &piece);)
        strbuf_adds(&rq.body, piece);
    buf_fini(&rq.long_body);
    return strbuf_take(&rq.body);
}

static bool has_line(const char *text, const char *line)
{
    size_t n = strlen(line);
    for (const char *at = text; (at = strstr(at, line)); at++)
        if ((at == text || at[-1] == '\n') && at[n] == '\n')
            return true;
    return false;
}

#define assert_line(text, line)                                                                    \
    do {                                                                                           \
        if (!has_line(text, line))                                                                 \
            print_error("no line %s in\n%s", line, text);                                          \
        assert_true(has_line(text, line));                                                         \
    } while (0)

/* ---- a reader of the text format: fails on anything that a scraper would refuse ---- */

static const char *read_name(const char *p)
{
    assert_true((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || *p == '_');
    while ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '_')
        p++;
    return p;
}

static const char *read_labels(const char *p)
{
    if (*p != '{')
        return p;
    p++;
    while (*p != '}') {
        p = read_name(p);
        assert_int_equal(*p++, '=');
        assert_int_equal(*p++, '"');
        for (; *p != '"'; p++) {
            assert_int_not_equal(*p, '\n');
            if (*p == '\\')
                assert_non_null(strchr("\\\"n", *++p));
        }
        p++;
        if (*p == ',')
            p++;
    }
    return p + 1;
}

/* Returns the number of samples; every sample belongs to the metric of the last TYPE line. */
static unsigned parse(const char *p)
{
    unsigned samples = 0;
    struct str metric = STR_NULL;
    for (; *p; p++) {
        if (strncmp(p, "# TYPE ", 7) == 0) {
            const char *end = read_name(p + 7);
            struct str name = str_make(p + 7, (size_t)(end - p) - 7);
            assert_false(str_eq(metric, name));
            metric = name;
            p = strchr(end, '\n');
            continue;
        }
        assert_true(str_has_prefix(str_from(p), metric));
        char *end;
        p = read_labels(read_name(p));
        assert_int_equal(*p++, ' ');
        strtod(p, &end);
        assert_true(end > p);
        assert_int_equal(*end, '\n');
        p = end;
        samples++;
    }
    return samples;
}

/* ---- tests ---- */

static int setup(void **state)
{
    (void)state;
    stats_init(1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stats_fini();
    return 0;
}

static void test_prometheus__counters_and_codes__become_labels(void **state)
{
    (void)state;
    struct stat_scope *a = cluster("a", ".", &table), *tls = cluster("a", ".ssl.", &tls_table);
    stat_add(a, 0, 7);
    stat_code(a, "upstream_rq", 200);
    stat_inc(a, 3);
    stat_dec(a, 1);
    stat_named(tls, "ciphers", "TLS_AES_128_GCM_SHA256");
    stat_named(tls, "versions", "TLSv1.3");
    char *text = page("");
    assert_line(text, "# TYPE envoy_cluster_upstream_cx_total counter");
    assert_line(text, "envoy_cluster_upstream_cx_total{envoy_cluster_name=\"a\"} 7");
    assert_line(text, "# TYPE envoy_cluster_upstream_cx_active gauge");
    assert_line(text, "envoy_cluster_upstream_cx_active{envoy_cluster_name=\"a\"} -1");
    assert_line(text, "envoy_cluster_upstream_rq{envoy_response_code=\"200\",envoy_cluster_name=\"a\"} 1");
    assert_line(text, "envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"5\",envoy_cluster_name=\"a\"} 1");
    assert_line(text, "envoy_cluster_ssl_ciphers{cipher_suite=\"TLS_AES_128_GCM_SHA256\",envoy_cluster_name=\"a\"} 1");
    assert_line(text, "envoy_cluster_ssl_versions{envoy_ssl_version=\"TLSv1.3\",envoy_cluster_name=\"a\"} 1");
    parse(text);
    mem_free(text);
}

static void test_prometheus__two_clusters__one_type_line_each_metric(void **state)
{
    (void)state;
    stat_inc(cluster("b", ".", &table), 0);
    stat_inc(cluster("a", ".", &table), 0);
    char *text = page("");
    assert_int_equal(parse(text), 2 * (3 + 22));
    assert_non_null(strstr(text, "envoy_cluster_upstream_cx_total{envoy_cluster_name=\"a\"} 1\n"
                                 "envoy_cluster_upstream_cx_total{envoy_cluster_name=\"b\"} 1\n"));
    mem_free(text);
}

static void test_prometheus__hostile_names__are_escaped(void **state)
{
    (void)state;
    stat_inc(cluster("q\"b\\n\nevil 1", ".", &table), 0);
    struct stat_scope *odd = stat_scope_get(STR("http.x-y|z:é."), &table, STR("http.x-y|z:é."), NULL, 0);
    stat_inc(odd, 0);
    char *text = page("");
    assert_line(text, "envoy_cluster_upstream_cx_total{envoy_cluster_name=\"q\\\"b\\\\n\\nevil 1\"} 1");
    assert_line(text, "envoy_http_x_y_z____upstream_cx_total{} 1");
    parse(text);
    mem_free(text);
}

static void test_prometheus__histogram__cumulative_buckets(void **state)
{
    (void)state;
    struct stat_scope *a = cluster("a", ".", &table);
    static const uint64_t values[] = {0, 1, 2, 30, 4000000};
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        stat_record(a, 2, values[i]);
    char *text = page("filter=rq_time");
    assert_line(text, "# TYPE envoy_cluster_upstream_rq_time histogram");
    assert_line(text, "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"a\",le=\"0.5\"} 1");
    assert_line(text, "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"a\",le=\"1\"} 2");
    assert_line(text, "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"a\",le=\"5\"} 3");
    assert_line(text, "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"a\",le=\"3600000\"} 4");
    assert_line(text, "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"a\",le=\"+Inf\"} 5");
    assert_line(text, "envoy_cluster_upstream_rq_time_sum{envoy_cluster_name=\"a\"} 4000033");
    assert_line(text, "envoy_cluster_upstream_rq_time_count{envoy_cluster_name=\"a\"} 5");
    assert_int_equal(parse(text), 22);
    mem_free(text);
}

static void test_prometheus__usedonly_and_filter__select(void **state)
{
    (void)state;
    stat_inc(cluster("a", ".", &table), 0);
    cluster("b", ".", &table);
    char *text = page("usedonly");
    assert_string_equal(text, "# TYPE envoy_cluster_upstream_cx_total counter\n"
                              "envoy_cluster_upstream_cx_total{envoy_cluster_name=\"a\"} 1\n");
    mem_free(text);
    text = page("filter=%5Ecluster%5C.b.*active");
    assert_int_equal(parse(text), 1);
    mem_free(text);
}

static void test_prometheus__custom_tags__cut_names_and_add_labels(void **state)
{
    (void)state;
    struct stats_tag_spec tags[] = {{STR("env"), NULL, STR("test")},
                                    {STR("fam"), regex_new(STR("^cluster\\.a\\.upstream_(([a-z]+)_)"), NULL), STR_NULL}};
    struct stats_config c = {.tags = tags, .tag_count = 2, .use_all_default_tags = true};
    stats_config_apply(&c);
    stat_inc(cluster("a", ".", &table), 0);
    char *text = page("");
    assert_line(text, "envoy_cluster_upstream_total{env=\"test\",envoy_cluster_name=\"a\",fam=\"cx\"} 1");
    parse(text);
    mem_free(text);
    regex_free(&tags[1].regex);
}

static void test_prometheus__no_default_tags__names_stay_whole(void **state)
{
    (void)state;
    struct stats_config c = {.use_all_default_tags = false};
    stats_config_apply(&c);
    struct stat_scope *a = cluster("a", ".", &table);
    stat_inc(a, 0);
    stat_inc(a, 3);
    char *text = page("");
    assert_line(text, "envoy_cluster_a_upstream_cx_total{} 1");
    assert_line(text, "envoy_cluster_a_upstream_rq_5xx{} 1");
    mem_free(text);
}

static void test_prometheus__bucket_settings__first_match_wins(void **state)
{
    (void)state;
    struct stats_bucket_spec buckets[1] = {{.bounds = (double[]){2, 50}, .bound_count = 2}};
    assert_int_equal(string_match_init(&buckets[0].match, MATCH_PREFIX, STR("cluster.a."), false, NULL), 0);
    struct stats_config c = {.use_all_default_tags = true, .buckets = buckets, .bucket_count = 1};
    stats_config_apply(&c);
    stat_record(cluster("a", ".", &table), 2, 30);
    cluster("b", ".", &table);
    char *text = page("filter=rq_time");
    assert_line(text, "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"a\",le=\"50\"} 1");
    assert_int_equal(parse(text), 5 + 22);
    mem_free(text);
    string_match_fini(&buckets[0].match);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_prometheus__counters_and_codes__become_labels),
        T(test_prometheus__two_clusters__one_type_line_each_metric),
        T(test_prometheus__hostile_names__are_escaped),
        T(test_prometheus__histogram__cumulative_buckets),
        T(test_prometheus__usedonly_and_filter__select),
        T(test_prometheus__custom_tags__cut_names_and_add_labels),
        T(test_prometheus__no_default_tags__names_stay_whole),
        T(test_prometheus__bucket_settings__first_match_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
