/* SPDX-License-Identifier: Apache-2.0
 *
 * AuthorizationPolicies and RequestAuthentications as filters.
 */
#include "workload.h"

#define AUTHZ(name_, spec_) OBJECT("security.istio.io/v1", "AuthorizationPolicy", name_) spec_
#define JWT(spec_) OBJECT("security.istio.io/v1", "RequestAuthentication", "jwt") spec_
#define RULE(rule_) "  rules: [" rule_ "]\n"

static struct sent s;

static void given_in(const char *mesh, const char *policies)
{
    struct strbuf all = {0};
    strbuf_addz(&all, WORKLOAD);
    strbuf_addz(&all, policies);
    strbuf_addc(&all, '\0');
    sent_init_in_mesh(&s, mesh, all.p, SIDECAR);
    strbuf_fini(&all);
}

static void given(const char *policies)
{
    given_in("", policies);
}

static int teardown(void **state)
{
    (void)state;
    sent_fini(&s);
    return 0;
}

static void test_authz__without_rules__allows_nothing(void **state)
{
    (void)state;
    given(AUTHZ("p", "  {}\n"));
    assert_sent(&s, INBOUND, "\"ns[foo]-policy[p]-rule[0]\":{\"permissions\":[{\"not_rule\":{\"any\":true}}]");
}

static void test_authz__allow_of_http__is_never_met_by_bytes(void **state)
{
    (void)state;
    given(AUTHZ("p", RULE("{to: [{operation: {methods: [GET]}}]}")));
    assert_sent(&s, INBOUND, "\"name\":\":method\"");
    assert_sent(&s, INBOUND, "envoy.extensions.filters.network.rbac.v3.RBAC\",\"rules\":{}");
}

static void test_authz__deny_of_http__denies_more_of_bytes(void **state)
{
    (void)state;
    given(AUTHZ("p", "  action: DENY\n" RULE("{to: [{operation: {methods: [GET], ports: ['9090']}}]}")));
    assert_sent(&s, INBOUND,
                "network.rbac.v3.RBAC\",\"rules\":{\"action\":\"DENY\",\"policies\":{\"ns[foo]-policy[p]-rule[0]\":{\"permissions\":"
                "[{\"and_rules\":{\"rules\":[{\"or_rules\":{\"rules\":[{\"destination_port\":9090}]}}]}}]");
}

static void test_authz__dots_in_a_service_account__match_dots_alone(void **state)
{
    (void)state;
    given(AUTHZ("p", RULE("{from: [{source: {serviceAccounts: ['bar/a.b']}}]}")));
    assert_sent(&s, INBOUND, "spiffe://.+/ns/bar/(.+/|)sa/a\\\\.b(/.+)?");
}

static void test_authz__principal_of_the_mesh__holds_for_its_aliases(void **state)
{
    (void)state;
    given_in("{trustDomain: new, trustDomainAliases: [old]}", AUTHZ("p", RULE("{from: [{source: {principals: [cluster.local/ns/a/sa/b]}}]}")));
    assert_sent(&s, INBOUND, "\"spiffe://new/ns/a/sa/b\"");
    assert_sent(&s, INBOUND, "\"spiffe://old/ns/a/sa/b\"");
    assert_not_sent(&s, INBOUND, "cluster.local/ns/a");
}

static void test_authz__other_selector__is_not_there(void **state)
{
    (void)state;
    given(AUTHZ("p", "  selector: {matchLabels: {app: x}}\n" RULE("{}")));
    assert_not_sent(&s, INBOUND, "v3.RBAC");
}

static void test_authz__dry_run__is_a_shadow(void **state)
{
    (void)state;
    given("---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
          "metadata: {name: p, namespace: foo, annotations: {istio.io/dry-run: 'true'}}\nspec: {action: DENY, rules: [{}]}\n");
    assert_sent(&s, INBOUND, "http.rbac.v3.RBAC\",\"shadow_rules\":{\"action\":\"DENY\"");
    assert_sent(&s, INBOUND, "\"shadow_rules_stat_prefix\":\"istio_dry_run_deny_\"");
}

#define CUSTOM AUTHZ("p", "  action: CUSTOM\n  provider: {name: ask}\n" RULE("{to: [{operation: {paths: [/a]}}]}"))
#define ASK(service_) "extensionProviders: [{name: ask, envoyExtAuthzHttp: {service: " service_ ", port: 8000}}]\n"

static void test_authz__custom__asks_the_provider(void **state)
{
    (void)state;
    given_in(ASK("foo/other.foo.svc.cluster.local"), CUSTOM);
    assert_sent(&s, INBOUND, "\"shadow_rules_stat_prefix\":\"istio_ext_authz_\"");
    assert_sent(&s, INBOUND, "\"cluster\":\"outbound|8000||other.foo.svc.cluster.local\"");
    assert_not_sent(&s, INBOUND, "network.ext_authz");
}

static void test_authz__custom_without_its_service__denies_what_it_matches(void **state)
{
    (void)state;
    given_in(ASK("none.foo.svc.cluster.local"), CUSTOM);
    assert_sent(&s, INBOUND, "\"rules\":{\"action\":\"DENY\",\"policies\":{\"istio-ext-authz-ask-ns[foo]-policy[p]-rule[0]"
                             "-deny-due-to-bad-CUSTOM-action\"");
    assert_not_sent(&s, INBOUND, "ext_authz.v3");
}

/* ---- tokens ---- */

static void test_jwt__one_rule__lets_requests_without_a_token_pass(void **state)
{
    (void)state;
    given(JWT("  jwtRules: [{issuer: me, jwks: '{\"keys\":[]}'}]\n"));
    assert_sent(&s, INBOUND, "\"requires_any\":{\"requirements\":[{\"provider_name\":\"origins-0\"},{\"allow_missing\":{}}]}");
}

static void test_jwt__keys_of_a_service__are_asked_by_its_cluster(void **state)
{
    (void)state;
    given(JWT("  jwtRules: [{issuer: me, jwksUri: 'http://other.foo.svc.cluster.local:8000/keys'}]\n"));
    assert_sent(&s, INBOUND, "\"remote_jwks\":{\"http_uri\":{\"uri\":\"http://other.foo.svc.cluster.local:8000/keys\",\"cluster\":"
                             "\"outbound|8000||other.foo.svc.cluster.local\",\"timeout\":\"5s\"}");
}

static void test_jwt__keys_from_elsewhere__no_token_is_good(void **state)
{
    (void)state;
    given(JWT("  jwtRules: [{issuer: me, jwksUri: 'https://elsewhere.example/keys'}]\n"));
    assert_sent(&s, INBOUND, "\"local_jwks\":{\"inline_string\":\"{\\\"keys\\\":[]}\"}");
}

static void test_jwt__rules_of_several_policies__are_numbered_by_issuer(void **state)
{
    (void)state;
    given(JWT("  jwtRules: [{issuer: b, jwks: '{\"keys\":[]}'}, {issuer: a, jwks: '{\"keys\":[]}'}]\n"));
    assert_sent(&s, INBOUND, "\"origins-0\":{\"issuer\":\"a\"");
    assert_sent(&s, INBOUND, "\"origins-1\":{\"issuer\":\"b\"");
}

/* A policy that comes changes the key of what is made with it, and of nothing else. */
static void test_key__policy__is_part_of_inbound_listeners(void **state)
{
    struct strbuf with = {0}, without = {0}, outbound_with = {0}, outbound_without = {0};
    (void)state;
    given(AUTHZ("p", RULE("{}")));
    translate_key(&s.t, PART_LDS_INBOUND, &with);
    translate_key(&s.t, PART_CDS_OUTBOUND, &outbound_with);
    sent_fini(&s);
    given("");
    translate_key(&s.t, PART_LDS_INBOUND, &without);
    translate_key(&s.t, PART_CDS_OUTBOUND, &outbound_without);
    assert_false(str_eq(strbuf_str(&with), strbuf_str(&without)));
    assert_true(str_eq(strbuf_str(&outbound_with), strbuf_str(&outbound_without)));
    strbuf_fini(&with);
    strbuf_fini(&without);
    strbuf_fini(&outbound_with);
    strbuf_fini(&outbound_without);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_authz__without_rules__allows_nothing, teardown),
        cmocka_unit_test_teardown(test_authz__allow_of_http__is_never_met_by_bytes, teardown),
        cmocka_unit_test_teardown(test_authz__deny_of_http__denies_more_of_bytes, teardown),
        cmocka_unit_test_teardown(test_authz__dots_in_a_service_account__match_dots_alone, teardown),
        cmocka_unit_test_teardown(test_authz__principal_of_the_mesh__holds_for_its_aliases, teardown),
        cmocka_unit_test_teardown(test_authz__other_selector__is_not_there, teardown),
        cmocka_unit_test_teardown(test_authz__dry_run__is_a_shadow, teardown),
        cmocka_unit_test_teardown(test_authz__custom__asks_the_provider, teardown),
        cmocka_unit_test_teardown(test_authz__custom_without_its_service__denies_what_it_matches, teardown),
        cmocka_unit_test_teardown(test_jwt__one_rule__lets_requests_without_a_token_pass, teardown),
        cmocka_unit_test_teardown(test_jwt__keys_of_a_service__are_asked_by_its_cluster, teardown),
        cmocka_unit_test_teardown(test_jwt__keys_from_elsewhere__no_token_is_good, teardown),
        cmocka_unit_test_teardown(test_jwt__rules_of_several_policies__are_numbered_by_issuer, teardown),
        cmocka_unit_test_teardown(test_key__policy__is_part_of_inbound_listeners, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
