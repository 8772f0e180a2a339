/* SPDX-License-Identifier: Apache-2.0
 *
 * Access control as a control plane may send it. The first line is a path that is asked for, the rest the inside of an RBAC
 * filter's settings as YAML. What is refused says why; what is taken decides to an end, as if each policy had been asked in
 * turn, and can be explained.
 */
#include "base/check.h"
#include "proxy/config/bootstrap.h"
#include "proxy/filter/rbac.h"
#include "proxy/hcm/hcm.h"
#include "proxy/listener/listener.h"
#include "proxy/log/access_log.h"
#include "proxy/rbac/rbac_priv.h"

#define TYPE "'@type': type.googleapis.com/envoy.extensions.filters."
#define FUZZ_TEXT_BYTES 16384

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count_line(void *arg, struct str line)
{
    CHECK(line.n > 0);
    ++*(uint32_t *)arg;
}

static void ask(const struct rbac_engine *e, struct str path)
{
    static const struct str names[] = {{"spiffe://cluster.local/ns/foo/sa/web", 36}, {NULL, 0}};
    struct arena arena;
    struct headers h;
    struct stream_info info = {.status = 0};
    struct addr local = {0}, remote = {0};
    struct rbac_input in;
    arena_init(&arena, 0);
    headers_init(&h, &arena);
    headers_add_ref(&h, STR(":method"), STR("GET"));
    headers_add_ref(&h, STR(":path"), path);
    headers_add_ref(&h, STR("x-tok"), STR("abc"));
    addr_from_ip(&local, STR("10.0.0.9"), 9080, NULL);
    addr_from_ip(&remote, STR("10.244.1.7"), 40000, NULL);
    info.downstream_local = &local;
    info.downstream_remote = info.downstream_direct_remote = &remote;
    info.requested_server_name = STR("reviews");
    rbac_input_init(&in, &h, &info, true);
    in.peer = (struct rbac_peer){.is_tls = true, .is_verified = true, .uri_sans = names, .subject = STR("CN=web")};
    struct format_context cx = {.info = &info, .request = &h};
    in.format = &cx;
    struct rbac_verdict v = rbac_decide(e, &in);
    uint32_t lines = 0, first = 0;
    rbac_explain(e, &in, 4, count_line, &lines);
    CHECK(lines > 0);
    while (!e->tree && first < e->count && !rbac_policy_matches(&e->policies[first], &in))
        first++;
    CHECK(e->tree || (v.policy.p ? v.policy_index : e->count) == first);
    arena_fini(&arena);
}

static void ask_filters(const struct config_result *r, struct str path)
{
    if (r->listener_count != 1 || r->listeners[0]->chain_count != 1 || r->listeners[0]->chains[0]->filter_count != 1)
        return;
    const struct network_filter_spec *n = &r->listeners[0]->chains[0]->filters[0];
    const struct hcm_config *hcm = n->def == &hcm_filter ? n->config : NULL;
    for (uint32_t i = 0; hcm && i < hcm->filter_count; i++) {
        const struct rbac_config *c = hcm->filters[i].def == &rbac_filter ? hcm->filters[i].config : NULL;
        for (int m = 0; c && m < RBAC_MODES; m++)
            if (c->rules[m].engine)
                ask(c->rules[m].engine, path);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest, text = str_make((const char *)data, size), path = str_split(text, '\n', &rest);
    struct strbuf yaml = {0};
    struct config_result *result = NULL;
    struct err_list faults = {0};
    if (size > FUZZ_TEXT_BYTES || !header_value_is_valid(path))
        return 0;
    strbuf_addz(&yaml, "static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: "
                       "[{filters: [{name: h, typed_config: {" TYPE "network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: s, "
                       "route_config: {}, http_filters: [{name: f, typed_config: {" TYPE "http.rbac.v3.RBAC, ");
    for (size_t i = 0; i < rest.n; i++) /* inside braces a line must not begin at the left */
        strbuf_addc(&yaml, rest.p[i] == '\n' ? ' ' : rest.p[i]);
    strbuf_addz(&yaml, "}}, {name: r, typed_config: {" TYPE "http.router.v3.Router}}]}}]}]}]}");
    struct server_opts opts = {.config_yaml = strbuf_str(&yaml)};
    int rc = config_load(&opts, &result, &faults);
    CHECK((rc < 0) == (result == NULL) && (rc == 0 || faults.count));
    if (result)
        ask_filters(result, path);
    config_result_free(&result);
    err_list_fini(&faults);
    strbuf_fini(&yaml);
    return 0;
}
