/* SPDX-License-Identifier: Apache-2.0 */
#include "control/kube/config.h"

#include "../../unit.h"

#include <stdlib.h>

#include "base/check.h"

#define FILE_NAME "/etc/weft/kubeconfig"

/* A whole kubeconfig around the fields of its cluster and its user, both in YAML's flow form. */
static int read_of(struct kube_config *c, const char *cluster, const char *user, struct err *err)
{
    char text[4096];
    snprintf(text, sizeof(text),
             "apiVersion: v1\nkind: Config\ncurrent-context: b\npreferences: {}\n"
             "contexts:\n- name: a\n  context: {cluster: none, user: none}\n- name: b\n  context: {cluster: c, user: u, namespace: mesh}\n"
             "clusters:\n- name: c\n  cluster: {%s}\nusers:\n- name: x\n  user: {exec: {command: evil}}\n- name: u\n  user: {%s}\n",
             cluster, user);
    return kube_config_read(c, str_from(text), FILE_NAME, err);
}

static void test_read__takes_the_current_context(void **state)
{
    (void)state;
    struct kube_config c;
    struct err err = {0};
    assert_int_equal(read_of(&c, "server: 'https://api.example:6443/k8s/', certificate-authority-data: aGVsbG8=, tls-server-name: kubernetes",
                             "client-certificate: certs/me.pem, client-key: /abs/key.pem, token: abc", &err), 0);
    assert_true(c.is_tls && !c.skip_verify);
    assert_str_equal(c.host, "api.example");
    assert_int_equal(c.port, 6443);
    assert_str_equal(c.authority, "api.example:6443");
    assert_str_equal(c.path, "/k8s");
    assert_str_equal(c.server_name, "kubernetes");
    assert_str_equal(c.ns, "mesh");
    assert_str_equal(c.ca.text, "hello");
    assert_str_equal(c.certificate.file, "/etc/weft/certs/me.pem");
    assert_str_equal(c.key.file, "/abs/key.pem");
    assert_str_equal(c.token.text, "abc");
    kube_config_fini(&c);
}

static void test_read__servers(void **state)
{
    (void)state;
    static const struct { const char *url, *host; unsigned port; bool is_tls; } rows[] = {
        {"https://10.0.0.1", "10.0.0.1", 443, true}, {"http://127.0.0.1:8001", "127.0.0.1", 8001, false},
        {"https://[2001:db8::1]:6443", "2001:db8::1", 6443, true}, {"http://localhost", "localhost", 80, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct kube_config c;
        struct err err = {0};
        char cluster[128];
        snprintf(cluster, sizeof(cluster), "server: '%s'", rows[i].url);
        assert_int_equal(read_of(&c, cluster, "", &err), 0);
        assert_str_equal(c.host, rows[i].host);
        assert_int_equal(c.port, rows[i].port);
        assert_int_equal(c.is_tls, rows[i].is_tls);
        assert_str_equal(c.path, "");
        kube_config_fini(&c);
    }
}

static void test_read__token_file__goes_before_the_token(void **state)
{
    (void)state;
    struct kube_config c;
    struct err err = {0};
    assert_int_equal(read_of(&c, "server: 'https://a'", "token: old, tokenFile: t", &err), 0);
    assert_str_equal(c.token.file, "/etc/weft/t");
    assert_int_equal(c.token.text.n, 0);
    kube_config_fini(&c);
}

static void test_read__what_isnt_supported__is_refused_by_name(void **state)
{
    (void)state;
    static const struct { const char *cluster, *user, *fault; } rows[] = {
        {"server: 'https://a'", "exec: {command: aws}", FILE_NAME ": user 'u'.exec: is not supported"},
        {"server: 'https://a'", "auth-provider: {name: gcp}", FILE_NAME ": user 'u'.auth-provider: is not supported"},
        {"server: 'https://a'", "username: me, password: secret", FILE_NAME ": user 'u'.username: is not supported"},
        {"server: 'https://a'", "as: admin", FILE_NAME ": user 'u'.as: is not supported"},
        {"server: 'https://a'", "tokken: x", FILE_NAME ": user 'u'.tokken: is not known"},
        {"server: 'https://a', proxy-url: 'http://p'", "", FILE_NAME ": cluster 'c'.proxy-url: is not supported"},
        {"server: 'https://a', certificate-authority-data: '***'", "", FILE_NAME ": cluster 'c'.certificate-authority-data: isn't base64"},
        {"server: 'https://a', insecure-skip-tls-verify: 7", "", FILE_NAME ": cluster 'c'.insecure-skip-tls-verify: must be true or false"},
        {"server: 'https://a', insecure-skip-tls-verify: true, certificate-authority: x", "", FILE_NAME ": insecure-skip-tls-verify and"},
        {"server: 'ftp://a'", "", FILE_NAME ": server: 'ftp://a' is neither"},
        {"server: nonsense", "", FILE_NAME ": server: 'nonsense' is no URL"},
        {"server: 'https://a:99999'", "", FILE_NAME ": server: 'https://a:99999' is no URL"},
        {"", "", FILE_NAME ": the cluster names no server"},
        {"server: 'http://a'", "token: x", FILE_NAME ": credentials aren't sent over http"},
        {"server: 'https://a'", "client-key-data: aGVsbG8=", FILE_NAME ": a client certificate and its key come together"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct kube_config c;
        struct err err = {0};
        char line[ERR_MESSAGE_BYTES + ERR_PATH_BYTES];
        assert_int_not_equal(read_of(&c, rows[i].cluster, rows[i].user, &err), 0);
        err_format(&err, line, sizeof(line));
        if (strncmp(line, rows[i].fault, strlen(rows[i].fault)) != 0)
            fail_msg("\"%s\" doesn't begin with \"%s\"", line, rows[i].fault);
        assert_null(strstr(line, "secret"));
        kube_config_fini(&c);
    }
}

static void test_read__texts_that_are_none__say_so(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "[]", "7", "{", "current-context: x", "current-context: x\ncontexts: {}", "current-context: x\ncontexts: [7]",
        "current-context: x\ncontexts: [{name: x, context: 7}]", "current-context: x\ncontexts: [{name: x, context: {cluster: y}}]",
        "current-context: x\ncontexts: [{name: x, context: {cluster: y}}]\nclusters: [{name: y, cluster: {server: [1]}}]",
        "current-context: x\ncontexts: [{name: x, context: {cluster: y, user: z}}]\nclusters: [{name: y, cluster: {server: 'https://a'}}]",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct kube_config c;
        struct err err = {0};
        assert_int_not_equal(kube_config_read(&c, str_from(texts[i]), FILE_NAME, &err), 0);
        assert_true(err.message[0]);
        kube_config_fini(&c);
    }
}

static void test_in_cluster__by_environment(void **state)
{
    (void)state;
    struct kube_config c;
    struct err err = {0};
    unsetenv("KUBERNETES_SERVICE_HOST");
    assert_int_equal(kube_config_in_cluster(&c, "/x", &err), ERR_NOT_FOUND);
    kube_config_fini(&c);
    setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
    setenv("KUBERNETES_SERVICE_PORT", "443", 1);
    assert_int_equal(kube_config_in_cluster(&c, "/x", &err), 0);
    assert_str_equal(c.host, "fd00::1");
    assert_str_equal(c.authority, "[fd00::1]:443");
    assert_str_equal(c.token.file, "/x/token");
    assert_str_equal(c.ca.file, "/x/ca.crt");
    kube_config_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read__takes_the_current_context), cmocka_unit_test(test_read__servers),
        cmocka_unit_test(test_read__token_file__goes_before_the_token),
        cmocka_unit_test(test_read__what_isnt_supported__is_refused_by_name),
        cmocka_unit_test(test_read__texts_that_are_none__say_so), cmocka_unit_test(test_in_cluster__by_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
