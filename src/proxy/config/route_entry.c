/* SPDX-License-Identifier: Apache-2.0
 *
 * One route: its match, its action, and what it says for headers, filters and traces. Main thread.
 */
#include "proxy/config/route_priv.h"

#define ACTION(x) ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_##x
#define TIMEOUT_MS 15000

static void read_direct(struct config_reader *cr, const pb_direct_response *m, struct route_entry *e, struct route_reading *rr)
{
    e->action = ROUTE_DIRECT_RESPONSE;
    e->direct_status = (uint16_t)GET(m, status);
    e->direct_content_type = STR("text/plain");
    if (GET(m, body))
        IN("body")
            cfg_data_source(cr, rr->a, m->body, rr->max_direct_body, &e->direct_body);
    if (GET(m, body_format))
        IN("body_format")
            e->direct_format = cfg_format(cr, m->body_format, rr->a, &e->direct_content_type);
}

static void read_action(struct config_reader *cr, const pb_route *m, struct route_entry *e, struct route_reading *rr)
{
    switch (m->action_case) {
    case ACTION(ROUTE):
        IN("route")
            cfg_route_action(cr, GET(m, route), e, rr);
        break;
    case ACTION(REDIRECT):
        IN("redirect")
            cfg_redirect(cr, GET(m, redirect), e, rr->a);
        break;
    case ACTION(DIRECT_RESPONSE):
        IN("direct_response")
            read_direct(cr, GET(m, direct_response), e, rr);
        break;
    case ACTION(NON_FORWARDING_ACTION):
        e->action = ROUTE_NON_FORWARDING;
        (void)GET(m, non_forwarding_action);
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION__NOT_SET:
        FAULT("", "one of route, redirect, direct_response and non_forwarding_action must be set");
        break;
    default:
        break; /* filter_action stays unread */
    }
}

static void read_tracing(struct config_reader *cr, const pb_route *m, struct route_entry *e, struct arena *a)
{
    const pb_decorator *d = GET(m, decorator);
    if (d) {
        e->decorator_operation = arena_str(a, TEXT(d, operation));
        e->decorator_propagate = proto_bool_or(GET(d, propagate), true);
    }
    const pb_route_tracing *t = GET(m, tracing);
    if (!t)
        return;
    IN("tracing")
        e->tracing = cfg_route_tracing(cr, t, a);
}

/* The newer field counts where both are set. */
static void read_body_limit(struct config_reader *cr, const pb_route *m, struct route_entry *e, const struct route_reading *rr)
{
    const Google__Protobuf__UInt32Value *old = GET(m, per_request_buffer_limit_bytes);
    const Google__Protobuf__UInt64Value *limit = GET(m, request_body_buffer_limit);
    e->has_body_limit = old || limit || rr->has_body_limit;
    e->filter_body_limit_bytes = limit ? limit->value : old ? 0 : rr->filter_body_limit_bytes;
    e->request_body_limit_bytes = limit ? limit->value : old ? old->value : rr->body_limit_bytes;
}

struct route_entry *cfg_route(struct config_reader *cr, const pb_route *m, struct virtual_host *v, struct route_reading *rr)
{
    struct route_entry *e = arena_zalloc(rr->a, sizeof *e);
    e->vhost = v;
    e->timeout_ms = TIMEOUT_MS;
    e->timeout_is_default = true;
    e->idle_timeout_ms = e->flush_timeout_ms = -1;
    e->name = arena_str(rr->a, TEXT(m, name));
    e->stat_prefix = arena_str(rr->a, TEXT(m, stat_prefix));
    e->include_attempt_count_in_request = rr->count_attempts_request;
    e->include_attempt_count_in_response = rr->count_attempts_response;
    e->include_is_timeout_retry = rr->mark_timeout_retries;
    IN("match")
        cfg_route_match(cr, GET(m, match), &e->match, rr->a);
    IN("metadata")
        e->metadata = cfg_metadata(cr, GET(m, metadata), rr->a);
    READ_HEADER_RULES(m, &e->request_rules, &e->response_rules, rr->a);
    READ_OVERRIDES(m, &e->overrides, rr->a);
    read_tracing(cr, m, e, rr->a);
    read_body_limit(cr, m, e, rr);
    read_action(cr, m, e, rr);
    return e;
}
