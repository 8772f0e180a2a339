/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/kind.h"

static void test_kind_of__every_row__has_its_message(void **state)
{
    (void)state;
    for (int i = 0; i < KIND_COUNT; i++) {
        const struct kind *k = kind_of((enum kind_id)i), *near;
        assert_int_equal(k->id, i);
        if (!kind_message(k))
            fail_msg("%s: no type %s", k->name, k->message);
        struct strbuf version = {0};
        struct str first = str_split(str_from(k->versions), ' ', &(struct str){0});
        strbuf_addf(&version, "%s%s%.*s", k->group, *k->group ? "/" : "", STR_ARG(first));
        assert_ptr_equal(kind_find(strbuf_str(&version), str_from(k->name), &near), k);
        strbuf_fini(&version);
    }
}

/* Names in JSON follow from those in the schema by one rule; these are where that could go wrong. */
static void test_kind_message__spelling_of_fields__as_in_json(void **state)
{
    (void)state;
    static const struct { const char *type, *field; } rows[] = {
        {"k8s.core.v1.ServiceSpec", "clusterIP"},
        {"k8s.core.v1.ServiceSpec", "clusterIPs"},
        {"k8s.core.v1.PodStatus", "podIP"},
        {"k8s.core.v1.Secret", "stringData"},
        {"istio.networking.v1alpha3.OutlierDetection", "consecutive5xxErrors"},
        {"istio.networking.v1alpha3.ConnectionPoolSettings.HTTPSettings", "http2KeepAlive"},
        {"istio.networking.v1alpha3.EnvoyFilter", "targetRefs"},
        {"istio.networking.v1alpha3.ClientTLSSettings", "caCrl"},
        {"istio.security.v1beta1.PeerAuthentication", "portLevelMtls"},
        {"istio.mesh.v1alpha1.MeshConfig", "meshMTLS"},
        {"istio.mesh.v1alpha1.MeshConfig", "enableAutoMtls"},
        {"istio.mesh.v1alpha1.ExtensionProvider.ZipkinTracingProvider", "enable64bitTraceId"},
        {"istio.mesh.v1alpha1.SDS", "k8sSaJwtPath"},
        {"istio.mesh.v1alpha1.LabelSelector", "matchExpressions"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const ProtobufCMessageDescriptor *type = proto_type_find(str_from(rows[i].type));
        assert_non_null(type);
        if (!proto_field_find(type, str_from(rows[i].field)))
            fail_msg("%s has no %s", rows[i].type, rows[i].field);
    }
    const ProtobufCMessageDescriptor *secret = proto_type_find(STR("k8s.core.v1.Secret"));
    assert_true(proto_field_is_sensitive(proto_field_find(secret, STR("data"))));
}

static void test_kind_find__unknown__what_may_be_meant(void **state)
{
    (void)state;
    static const struct { const char *version, *name; int near; } rows[] = {
        {"networking.istio.io/v1", "VirtualServise", KIND_VIRTUAL_SERVICE},
        {"networking.istio.io/v1alpha2", "VirtualService", KIND_VIRTUAL_SERVICE},
        {"networking.istio.io/v1", "EnvoyFilter", KIND_ENVOY_FILTER},
        {"networking.istio.io/v1", "AuthorizationPolicy", KIND_AUTHORIZATION_POLICY},
        {"networking.k8s.io/v1beta1", "Ingress", KIND_INGRESS},
        {"v1", "Services", KIND_SERVICE},
        {"apps/v1", "Deployment", -1},
        {"", "", -1},
        {"/", "x", -1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct kind *near;
        assert_null(kind_find(str_from(rows[i].version), str_from(rows[i].name), &near));
        assert_int_equal(near ? (int)near->id : -1, rows[i].near);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kind_of__every_row__has_its_message),
        cmocka_unit_test(test_kind_message__spelling_of_fields__as_in_json),
        cmocka_unit_test(test_kind_find__unknown__what_may_be_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
