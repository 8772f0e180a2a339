/* SPDX-License-Identifier: Apache-2.0
 *
 * The event log of health checks: data.core.v3.HealthCheckEvent as JSON, one a line. And the parts of
 * checks that need no session: payloads, ranges of statuses, a member's own settings. Main thread.
 */
#include <string.h>

#include "base/mem.h"
#include "proxy/health/event_log.h"
#include "proxy/health/health_priv.h"

static const char *const kind_names[] = {[HEALTH_HTTP] = "HTTP", [HEALTH_TCP] = "TCP", [HEALTH_GRPC] = "GRPC"};
static const char *const failure_names[] = {[HEALTH_ACTIVE] = "ACTIVE", [HEALTH_PASSIVE] = "PASSIVE",
                                            [HEALTH_NETWORK] = "NETWORK", [HEALTH_NETWORK_TIMEOUT] = "NETWORK_TIMEOUT"};

static void add_status(struct strbuf *b, const struct health_session *s, enum health_failure why)
{
    bool answered = why == HEALTH_ACTIVE && s->checker->spec->kind == HEALTH_HTTP;
    strbuf_addf(b, ",\"http_status_code\":%u", answered ? s->status : 0);
}

static void add_event(struct strbuf *b, const struct health_session *s, enum health_event event, enum health_failure why)
{
    switch (event) {
    case HEALTH_EVENT_ADD:
        event_add_raw(b, "add_healthy_event", s->first ? "{\"first_check\":true}" : "{\"first_check\":false}");
        break;
    case HEALTH_EVENT_EJECT:
        event_add_raw(b, "eject_unhealthy_event", "{");
        event_add_text(b, "failure_type", str_from(failure_names[why]));
        add_status(b, s, why);
        strbuf_addc(b, '}');
        break;
    case HEALTH_EVENT_FAILURE:
        event_add_raw(b, "health_check_failure_event", "{");
        event_add_text(b, "failure_type", str_from(failure_names[why]));
        event_add_raw(b, "first_check", s->first ? "true" : "false");
        add_status(b, s, why);
        strbuf_addc(b, '}');
        break;
    case HEALTH_EVENT_SUCCESS:
        event_add_raw(b, "successful_health_check_event", "{}");
        break;
    case HEALTH_EVENT_DEGRADED:
        event_add_raw(b, "degraded_healthy_host", "{}");
        break;
    case HEALTH_EVENT_NOT_DEGRADED:
        event_add_raw(b, "no_longer_degraded_host", "{}");
        break;
    }
}

static void add_locality(struct strbuf *b, const struct locality *l)
{
    static const struct locality nowhere;
    l = l ? l : &nowhere;
    event_add_raw(b, "locality", "{");
    event_add_text(b, "region", l->region);
    event_add_text(b, "zone", l->zone);
    event_add_text(b, "sub_zone", l->sub_zone);
    strbuf_addc(b, '}');
}

void health_log(const struct health_session *s, enum health_event event, enum health_failure why)
{
    const struct health_checker *hc = s->checker;
    struct strbuf b = {0};
    if (!hc->log_count)
        return;
    strbuf_addc(&b, '{');
    event_add_text(&b, "health_checker_type", str_from(kind_names[hc->spec->kind]));
    event_add_address(&b, "host", &s->host->addr);
    event_add_text(&b, "cluster_name", hc->cluster->spec->name);
    bool early = event == HEALTH_EVENT_ADD || event == HEALTH_EVENT_EJECT; /* members stand by their numbers */
    if (early)
        add_event(&b, s, event, why);
    event_add_time(&b, loop_wall_us(clusters_main_loop()));
    if (!early)
        add_event(&b, s, event, why);
    add_locality(&b, s->host->locality);
    strbuf_addc(&b, '}');
    for (uint32_t i = 0; i < hc->log_count; i++) {
        struct strbuf line = {0};
        strbuf_adds(&line, strbuf_str(&b));
        event_log_write(hc->logs[i], &line);
        strbuf_fini(&line);
    }
    strbuf_fini(&b);
}

/* ---- pure parts ---- */

bool health_status_in(const struct status_range *ranges, uint32_t n, unsigned status)
{
    for (uint32_t i = 0; i < n; i++)
        if (status >= ranges[i].from && status < ranges[i].to)
            return true;
    return false;
}

bool health_payload_matches(const struct str *parts, uint32_t n, struct str data)
{
    for (uint32_t i = 0; i < n; i++) {
        const char *at = data.n ? memmem(data.p, data.n, parts[i].p, parts[i].n) : NULL;
        if (!at)
            return false;
        size_t past = (size_t)(at - data.p) + parts[i].n;
        data = str_make(data.p + past, data.n - past);
    }
    return true;
}

void health_spec_fini(struct health_spec *s)
{
    header_rules_fini(&s->headers);
    if (s->has_service_match)
        string_match_fini(&s->service_match);
}

/* ---- a member's settings ---- */

static void address_to_ask(const struct endpoint_spec *e, struct addr *out)
{
    addr_copy(out, e->has_check_addr ? &e->check_addr : &e->addr);
    if (e->check_port && addr_is_ip(out))
        addr_set_port(out, e->check_port);
}

struct health_host *health_host_new(const struct health_spec *spec, const struct endpoint_spec *e)
{
    if (!spec || e->no_check)
        return NULL;
    struct health_host *h = NEW(health_host);
    address_to_ask(e, &h->addr);
    if (e->check_hostname.n)
        h->hostname = str_dup(e->check_hostname);
    return h;
}

void health_host_free(struct health_host **host)
{
    struct health_host *h = *host;
    *host = NULL;
    if (!h)
        return;
    addr_fini(&h->addr);
    str_free(&h->hostname);
    mem_free(h);
}

bool health_host_fits(const struct health_host *h, const struct health_spec *spec, const struct endpoint_spec *e)
{
    bool wanted = spec && !e->no_check;
    if (!h || !wanted)
        return !h && !wanted;
    struct addr a = {0};
    address_to_ask(e, &a);
    bool fits = addr_eq(&a, &h->addr) && str_eq(h->hostname, e->check_hostname);
    addr_fini(&a);
    return fits;
}
