/* SPDX-License-Identifier: Apache-2.0
 *
 * override_host: the request names the hosts that it wants, in a header or in dynamic metadata, first
 * choice first; where none of them is a member that is well, the policy below chooses. The names come
 * from the request: no more is done with them than to look them up.
 */
#include "base/mem.h"
#include "http/codec/headers.h"
#include "proxy/cluster/cluster.h"

#define NAMED_MAX 64 /* hosts of one list that are looked up: a client may send a long one */

static void *build_whole(const struct host_set *set, const struct host_set_opts *opts)
{
    struct host **hosts = set->count ? mem_alloc(set->count * sizeof(*hosts)) : NULL;
    for (uint32_t i = 0; i < set->count; i++)
        hosts[i] = host_ref(set->hosts[i]);
    return host_set_new(hosts, set->count, set->lb->child, opts);
}

static void free_whole(void *whole)
{
    struct host_set *s = whole;
    host_set_unref(&s);
}

static bool has_status(const struct host *h, uint32_t statuses)
{
    enum host_class c = host_class(h);
    return statuses & (c == HOST_IS_HEALTHY ? LB_STATUS_HEALTHY : c == HOST_IS_DEGRADED ? LB_STATUS_DEGRADED : LB_STATUS_UNHEALTHY);
}

static bool parse(struct str text, struct addr *out)
{
    ptrdiff_t colon = -1;
    uint32_t port = 0;
    for (size_t i = text.n; i-- > 0 && colon < 0;)
        if (text.p[i] == ':')
            colon = (ptrdiff_t)i;
    if (colon <= 0 || text.n - (size_t)colon - 1 > 5 || text.n - (size_t)colon - 1 == 0)
        return false;
    for (size_t i = (size_t)colon + 1; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        port = port * 10 + (uint32_t)(text.p[i] - '0');
    }
    struct str ip = str_make(text.p, (size_t)colon);
    if (ip.n > 2 && ip.p[0] == '[' && ip.p[ip.n - 1] == ']')
        ip = str_make(ip.p + 1, ip.n - 2);
    return port <= 65535 && addr_from_ip(out, ip, (uint16_t)port, NULL) == 0;
}

static struct host *member(const struct host_set *s, const struct addr *a, uint32_t statuses)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (addr_eq(&s->hosts[i]->addr, a))
            return has_status(s->hosts[i], statuses) ? s->hosts[i] : NULL;
    return NULL;
}

struct host *lb_host_by_address(const struct host_set *s, struct str addresses, uint32_t statuses)
{
    for (uint32_t n = 0; addresses.n && n < NAMED_MAX; n++) {
        struct addr a = {0};
        ptrdiff_t comma = str_find_char(addresses, ',');
        struct str one = str_trim(comma < 0 ? addresses : str_make(addresses.p, (size_t)comma));
        addresses = comma < 0 ? STR_NULL : str_make(addresses.p + comma + 1, addresses.n - (size_t)comma - 1);
        struct host *h = parse(one, &a) ? member(s, &a, statuses) : NULL;
        if (h)
            return h;
    }
    return NULL;
}

static struct str named(const struct lb_override_source *src, const struct lb_context *ctx)
{
    if (src->header.n && ctx->request) {
        struct str value = headers_get(ctx->request, src->header);
        if (value.n)
            return value;
    }
    if (!src->path_count)
        return STR_NULL;
    const struct meta_value *v = metadata_find(ctx->dynamic, src->space, src->path, src->path_count);
    return v && v->kind == META_STRING ? v->u.string : STR_NULL;
}

static struct host *choose(const struct host_set *set, struct lb_context *ctx)
{
    const struct lb_override_spec *spec = set->lb->override;
    for (uint32_t i = 0; i < spec->source_count; i++) {
        struct str list = named(&spec->sources[i], ctx);
        struct host *h = list.n ? lb_host_by_address(set, list, LB_STATUS_HEALTHY | LB_STATUS_DEGRADED) : NULL;
        if (h && !(ctx->skip && ctx->skip(ctx->skip_arg, h)))
            return h;
    }
    return host_set_choose(set->whole, ctx);
}

const struct lb_policy lb_override_host = {.name = "OVERRIDE_HOST", .build_whole = build_whole, .free_whole = free_whole, .choose = choose};
