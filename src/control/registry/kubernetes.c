/* SPDX-License-Identifier: Apache-2.0
 *
 * The kinds that the mesh looks at, and what of them. What it doesn't look at isn't asked for: a cluster's ConfigMaps and its
 * service accounts are many, and other people's.
 */
#include "control/registry/kubernetes.h"

#include "base/check.h"
#include "base/mem.h"

static const struct wanted {
    enum kind_id kind;
    const char *fields;
} wanted[] = {
    {KIND_VIRTUAL_SERVICE, ""}, {KIND_DESTINATION_RULE, ""}, {KIND_GATEWAY, ""}, {KIND_SERVICE_ENTRY, ""}, {KIND_WORKLOAD_ENTRY, ""},
    {KIND_WORKLOAD_GROUP, ""}, {KIND_SIDECAR, ""}, {KIND_ENVOY_FILTER, ""}, {KIND_PROXY_CONFIG, ""}, {KIND_PEER_AUTHENTICATION, ""},
    {KIND_REQUEST_AUTHENTICATION, ""}, {KIND_AUTHORIZATION_POLICY, ""}, {KIND_TELEMETRY, ""}, {KIND_SERVICE, ""},
    {KIND_ENDPOINT_SLICE, ""}, {KIND_POD, "status.phase!=Failed,status.phase!=Succeeded"}, {KIND_NODE, ""}, {KIND_NAMESPACE, ""},
    /* Charts and accounts' tokens are most of a cluster's secrets, and no certificates. */
    {KIND_SECRET, "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token"}, {KIND_INGRESS, ""}, {KIND_INGRESS_CLASS, ""},
};

struct registry_kubernetes {
    struct registry_kubernetes_opts opts;
    struct loop *loop;
    struct reflector_turns turns;
    struct reflector *reflectors[ARRAY_LEN(wanted)];
    struct turn_task commit;
    bool is_synced;
    uint64_t commits;
};

static bool are_all_synced(const struct registry_kubernetes *r)
{
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        if (!reflector_state(r->reflectors[i]).is_synced)
            return false;
    return true;
}

static void commit(struct turn_task *t)
{
    struct registry_kubernetes *r = CONTAINER_OF(t, registry_kubernetes, commit);
    bool was_synced = r->is_synced;
    r->is_synced = was_synced || are_all_synced(r);
    if (!r->is_synced)
        return;
    store_commit(r->opts.store);
    r->commits++;
    if (!was_synced)
        r->opts.on_synced(r->opts.user);
}

static void on_change(void *user)
{
    struct registry_kubernetes *r = user;
    loop_at_turn_end(r->loop, &r->commit);
}

struct registry_kubernetes *registry_kubernetes_new(const struct registry_kubernetes_opts *o)
{
    struct registry_kubernetes *r = NEW(registry_kubernetes);
    r->opts = *o;
    r->loop = kube_client_loop(o->client);
    r->commit.run = commit;
    reflector_turns_init(&r->turns);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        r->reflectors[i] = reflector_new(&(struct reflector_opts){
            .client = o->client, .turns = &r->turns, .store = o->store, .kind = wanted[i].kind, .fields = wanted[i].fields,
            .absent_ms = o->absent_ms, .on_change = on_change, .user = r});
    return r;
}

void registry_kubernetes_free(struct registry_kubernetes **p)
{
    struct registry_kubernetes *r = *p;
    *p = NULL;
    if (!r)
        return;
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        reflector_free(&r->reflectors[i]);
    turn_task_cancel(&r->commit);
    mem_free(r);
}

/* ---- what it tells ---- */

bool registry_kubernetes_is_synced(const struct registry_kubernetes *r)
{
    return r->is_synced;
}

void registry_kubernetes_waits_for(const struct registry_kubernetes *r, struct strbuf *out)
{
    const char *comma = "waiting for ";
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        struct reflector_state s = reflector_state(r->reflectors[i]);
        if (s.is_synced)
            continue;
        strbuf_addf(out, "%s%s%s%s", comma, s.kind->plural, *s.trouble ? ": " : "", s.trouble);
        comma = *s.trouble ? "; " : ", ";
    }
}

void registry_kubernetes_faults(const struct registry_kubernetes *r, struct err_list *out)
{
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        struct reflector_state s = reflector_state(r->reflectors[i]);
        if (*s.trouble)
            err_list_addf(out, ERR_IO, s.kind->plural, "%s", s.trouble);
        reflector_faults(r->reflectors[i], out);
    }
}

/* X(metric, form, member of struct reflector_state) */
#define KIND_METRICS(X)                                                                                                             \
    X("objects", "gauge", objects) X("broken_objects", "gauge", faults) X("lists_total", "counter", lists)                             \
    X("pages_total", "counter", pages) X("watches_total", "counter", watches) X("events_total", "counter", events)                     \
    X("bookmarks_total", "counter", bookmarks) X("expired_total", "counter", expired)                                                  \
    X("out_of_order_total", "counter", out_of_order) X("failures_total", "counter", failures) X("absent", "gauge", is_absent)

static void add_kinds(const struct registry_kubernetes *r, struct strbuf *out)
{
#define X(metric, form, member)                                                                                                       \
    strbuf_addz(out, "# TYPE weftd_kubernetes_" metric " " form "\n");                                                                \
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {                                                                                \
        struct reflector_state s = reflector_state(r->reflectors[i]);                                                               \
        strbuf_addf(out, "weftd_kubernetes_" metric "{kind=\"%s\"} %lu\n", s.kind->name, (unsigned long)s.member);                     \
    }
    KIND_METRICS(X)
#undef X
}

void registry_kubernetes_metrics(const struct registry_kubernetes *r, struct strbuf *out)
{
    struct kube_client_counters c = kube_client_counters(r->opts.client);
    const struct { const char *name; uint64_t value; } rows[] = {
        {"requests", c.requests}, {"request_failures", c.failures}, {"throttled", c.throttled}, {"server_errors", c.server_errors},
        {"retries", c.retries}, {"credentials_renewed", c.renewed}, {"commits", r->commits},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        strbuf_addf(out, "# TYPE weftd_kubernetes_%s_total counter\nweftd_kubernetes_%s_total %lu\n", rows[i].name, rows[i].name,
                    (unsigned long)rows[i].value);
    strbuf_addf(out, "# TYPE weftd_kubernetes_synced gauge\nweftd_kubernetes_synced %d\n", r->is_synced);
    add_kinds(r, out);
}
