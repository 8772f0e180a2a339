/* SPDX-License-Identifier: Apache-2.0
 *
 * PCDS: one resource, a ProxyConfig of which istiod fills ca_certificates_pem and nothing else. A push whose certificates are
 * no good is refused as a whole (NACK) and changes nothing; one that is taken away leaves no roots of its own. Main thread.
 */
#include "proxy/agent/pushed_roots.h"

#include "base/log.h"
#include "base/mem.h"
#include "proto/message.h"
#include "proxy/discovery/discovery.h"

#define MEMORY_BYTES ((size_t)16 << 20)

struct pushed_roots {
    struct trust *trust;
    struct subscription *subscription;
};

static int add_all(const ProtobufCMessage *msg, struct strbuf *out, struct err *err)
{
    const ProtobufCFieldDescriptor *field = proto_field_find(msg->descriptor, STR("ca_certificates_pem"));
    if (!field)
        return err_set(err, ERR_UNSUPPORTED, "there is no field ca_certificates_pem");
    for (size_t i = 0; i < proto_field_count(msg, field); i++) {
        strbuf_addz(out, *(char *const *)proto_field_at(msg, field, i));
        strbuf_addc(out, '\n');
    }
    return 0;
}

static int read_roots(const struct resource *r, struct strbuf *out, struct err *err)
{
    struct proto_arena *a = proto_arena_new(MEMORY_BYTES);
    ProtobufCMessage *msg = NULL;
    const ProtobufCMessageDescriptor *desc = proto_type_find(str_from(resource_type_name(RESOURCE_PROXY_CONFIG)));
    int rc = desc ? proto_unpack(a, desc, r->packed, &msg, err) : err_set(err, ERR_UNSUPPORTED, "unknown type");
    if (rc == 0)
        rc = add_all(msg, out, err);
    proto_arena_free(&a);
    return rc;
}

static void on_update(void *user, const struct resource_update *u, struct err_list *faults)
{
    struct pushed_roots *p = user;
    struct strbuf pem = {0};
    struct err err = {0};
    bool changed = false;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < u->count; i++)
        rc = read_roots(&u->items[i], &pem, &err);
    if (rc == 0)
        rc = trust_set(p->trust, TRUST_PUSHED, strbuf_str(&pem), &changed, &err);
    if (rc < 0)
        err_list_addf(faults, ERR_INVALID, "ca_certificates_pem", "%s", err.message);
    else if (changed)
        LOG(SECRET, INFO, "istiod pushed other roots");
    strbuf_fini(&pem);
}

static const struct subscription_ops ops = {.on_update = on_update};

struct pushed_roots *pushed_roots_new(struct trust *keep_trust)
{
    static const struct config_source over_ads = {.kind = SOURCE_ADS};
    struct pushed_roots *p = NEW(pushed_roots);
    p->trust = keep_trust;
    p->subscription = discovery_subscribe(&over_ads, RESOURCE_PROXY_CONFIG, STR(""), STR("agent.pcds."), &ops, p);
    return p;
}

void pushed_roots_free(struct pushed_roots **pp)
{
    struct pushed_roots *p = *pp;
    *pp = NULL;
    if (!p)
        return;
    discovery_unsubscribe(&p->subscription);
    mem_free(p);
}
