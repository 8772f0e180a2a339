/* SPDX-License-Identifier: Apache-2.0
 *
 * strict_check_headers: requests whose x-envoy-* headers can't be read are refused instead of served as if they had
 * said nothing (Envoy: router filter's strict_check_headers).
 */
#include "proxy/filter/router_priv.h"

static bool is_number(struct str text)
{
    uint64_t v;
    return str_to_u64(text, &v) && v <= UINT32_MAX;
}

static bool names_retries(struct str list, bool grpc)
{
    static const struct { struct str text; uint32_t bit; } names[] = {
#define X(bit, name, text) {{text, sizeof(text) - 1}, 1u << (bit)},
        RETRY_ON_TABLE(X)
#undef X
    };
    uint32_t of_grpc = RETRY_ON_GRPC_CANCELLED | RETRY_ON_GRPC_DEADLINE_EXCEEDED | RETRY_ON_GRPC_INTERNAL |
                       RETRY_ON_GRPC_RESOURCE_EXHAUSTED | RETRY_ON_GRPC_UNAVAILABLE;
    while (list.p) {
        struct str rest, one = str_trim(str_split(list, ',', &rest));
        bool known = !one.n;
        for (size_t i = 0; i < ARRAY_LEN(names) && !known; i++)
            known = str_eq(one, names[i].text) && !(names[i].bit & of_grpc) == !grpc;
        if (!known)
            return false;
        list = rest;
    }
    return true;
}

static bool is_retry_list(struct str list)
{
    return names_retries(list, false);
}

static bool is_grpc_list(struct str list)
{
    return names_retries(list, true);
}

const struct header *strict_fault(const struct router_config *c, const struct headers *h)
{
    static const struct { uint8_t id; bool (*is_good)(struct str value); } rows[] = { /* as ROUTER_STRICT_HEADERS */
        {HDR_ENVOY_TIMEOUT, is_number},     {HDR_ENVOY_PER_TRY_TIMEOUT, is_number},
        {HDR_ENVOY_MAX_RETRIES, is_number}, {HDR_ENVOY_RETRY_ON, is_retry_list},
        {HDR_ENVOY_RETRY_GRPC_ON, is_grpc_list},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct header *found = c->strict_headers >> i & 1 ? headers_find_id(h, rows[i].id) : NULL;
        if (found && !rows[i].is_good(found->value))
            return found;
    }
    return NULL;
}
