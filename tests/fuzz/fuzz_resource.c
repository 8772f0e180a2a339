/* SPDX-License-Identifier: Apache-2.0
 *
 * A resource of a management server: the first byte says of which type, the rest is the packed message, or behind an upper-case
 * letter the same as JSON, which mutation leaves whole more often. It goes through what discovery does with it, down to the objects that traffic would use: a resource that has a fault says what and makes nothing,
 * one that is taken is whole and goes again. Files aren't opened for it.
 */
#include "base/check.h"
#include "base/log.h"
#include "proto/json.h"
#include "proxy/cluster/cluster.h"
#include "proxy/cluster/slot.h"
#include "proxy/config/bootstrap.h"
#include "proxy/config/resources.h"
#include "proxy/config/secret.h"
#include "proxy/listener/listener.h"
#include "proxy/route/route.h"
#include "proxy/stats/stats.h"

#include <string.h>

#define FUZZ_INPUT_BYTES ((size_t)1 << 16)
#define FUZZ_BOOTSTRAP                                                                             \
    "static_resources: {clusters: [{name: members, type: EDS, eds_cluster_config: {eds_config: {path_config_source: {path: /nowhere}}}}]}"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    struct loop *loop;
    struct config_result *config;
    struct cluster *members;
} env;

static void set_up(void)
{
    static const struct str yaml = {FUZZ_BOOTSTRAP, sizeof(FUZZ_BOOTSTRAP) - 1};
    struct server_opts opts = {.config_yaml = yaml};
    struct err_list faults = {0};
    if (env.loop)
        return;
    memset(log_levels, LOG_OFF, sizeof(log_levels));
    env.loop = loop_new("fuzz", NULL);
    stats_init(1);
    clusters_init(env.loop, NULL, 0);
    config_load(&opts, &env.config, &faults);
    CHECK(faults.count == 0);
    env.members = cluster_new(env.config->clusters[0], NULL);
    env.config->clusters[0] = NULL;
    CHECK(env.members != NULL);
}

/* ---- one of each type; false: it has a fault ---- */

static bool read_listener(struct config_batch *b, struct str packed, struct err_list *faults)
{
    struct listener_spec *spec = NULL, *same = NULL;
    if (config_read_listener(b, packed, NULL, 0, &spec, faults) < 0)
        return false;
    const struct listener_spec *older[] = {spec};
    CHECK(config_read_listener(b, packed, older, 1, &same, faults) == 0); /* chains are shared with it */
    listener_spec_free(&spec);
    listener_spec_free(&same);
    return true;
}

static bool read_cluster(struct config_batch *b, struct str packed, struct err_list *faults)
{
    struct cluster_spec *spec = NULL;
    struct err err = {0};
    if (config_read_cluster(b, packed, &spec, faults) < 0)
        return false;
    struct cluster *c = cluster_new(spec, &err);
    if (!c)
        err_list_add(faults, &err);
    cluster_unref(&c);
    return faults->count == 0;
}

static bool read_route_config(struct config_batch *b, struct str packed, struct err_list *faults)
{
    struct route_config_spec *spec = NULL;
    struct err err = {0};
    if (config_read_route_config(b, packed, &spec, faults) < 0)
        return false;
    struct route_table *table = route_table_new(spec, &err);
    if (!table)
        err_list_add(faults, &err);
    route_table_free(&table);
    route_config_free(&spec);
    return faults->count == 0;
}

static bool read_assignment(struct config_batch *b, struct str packed, struct err_list *faults)
{
    return config_read_assignment(b, packed, env.members, faults) == 0;
}

static bool read_secret(struct config_batch *b, struct str packed, struct err_list *faults)
{
    static const struct str name = {"s", 1};
    for (int kind = SECRET_CERTIFICATE; kind <= SECRET_TICKET_KEYS; kind++) {
        struct secret_spec *spec = NULL;
        struct strbuf again = {0};
        err_list_fini(faults);
        if (config_read_secret(b, packed, name, (enum secret_kind)kind, &spec, faults) < 0)
            continue;
        secret_spec_pack(spec, name, &again);
        secret_spec_unref(&spec);
        strbuf_fini(&again);
        return true;
    }
    return false;
}

static bool read_virtual_host(struct config_batch *b, struct str packed, struct err_list *faults)
{
    static const struct route_config_spec config;
    struct vhost_resource *v = NULL;
    if (config_read_virtual_host(b, packed, &config, &v, faults) < 0)
        return false;
    vhost_resource_unref(&v);
    return true;
}

static bool read_runtime(struct config_batch *b, struct str packed, struct err_list *faults)
{
    struct runtime_values values;
    struct arena a;
    arena_init(&a, 0);
    int rc = config_read_runtime(b, packed, &a, &values, faults);
    arena_fini(&a);
    return rc == 0;
}

static const struct reader {
    const char *type;
    bool (*read)(struct config_batch *b, struct str packed, struct err_list *faults);
} readers[] = {
    {"envoy.config.listener.v3.Listener", read_listener},
    {"envoy.config.cluster.v3.Cluster", read_cluster},
    {"envoy.config.route.v3.RouteConfiguration", read_route_config},
    {"envoy.config.endpoint.v3.ClusterLoadAssignment", read_assignment},
    {"envoy.extensions.transport_sockets.tls.v3.Secret", read_secret},
    {"envoy.config.route.v3.VirtualHost", read_virtual_host},
    {"envoy.service.runtime.v3.Runtime", read_runtime},
};

static void check(const struct reader *r, struct str packed)
{
    struct err_list faults = {0};
    struct config_batch *b = config_batch_new(env.config->frame);
    if (!r->read(b, packed, &faults))
        CHECK(faults.count > 0 && faults.items[0].message[0]);
    config_batch_free(&b);
    err_list_fini(&faults);
    loop_turn(env.loop, 0);
}

static void check_json(const struct reader *r, struct str text)
{
    struct proto_arena *a = proto_arena_new((size_t)16 << 20);
    const ProtobufCMessageDescriptor *desc = proto_type_find(str_from(r->type));
    ProtobufCMessage *m = NULL;
    struct err_list faults = {0};
    struct strbuf packed = {0};
    CHECK(desc != NULL);
    if (json_decode(a, text, desc, NULL, &m, &faults) == 0) {
        proto_pack(m, &packed);
        check(r, strbuf_str(&packed));
    }
    strbuf_fini(&packed);
    err_list_fini(&faults);
    proto_arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = size ? str_make((const char *)data + 1, size - 1) : STR("");
    if (!size || size > FUZZ_INPUT_BYTES || str_find(rest, STR("Sink")) >= 0 || str_find(rest, STR("FileAccessLog")) >= 0)
        return 0;
    set_up();
    if (data[0] >= 'A' && (size_t)(data[0] - 'A') < ARRAY_LEN(readers))
        check_json(&readers[data[0] - 'A'], rest);
    else
        check(&readers[data[0] % ARRAY_LEN(readers)], rest);
    return 0;
}
