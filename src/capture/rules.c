/* SPDX-License-Identifier: Apache-2.0
 *
 * The order of rules is the meaning: exclusions, then what the proxy sends, then DNS, then loopback, then what is included.
 * Chains without rules aren't made, and nothing jumps to them. Every rule counts, so that `weft capture show` tells which one
 * took a connection. Semantics are istio-iptables'; where Istio's own nftables rules differ from its iptables rules, the latter
 * hold.
 */
#include "capture/rules.h"

#include "base/check.h"

#include <arpa/inet.h>
#include <stdio.h>

#define DNS_PORT 15053 /* the agent's DNS proxy; istio-iptables has no flag for it */
/* Zones of the connection tracker. Queries of the application and of the proxy may share all five numbers; apart they don't mix.
 */
#define ZONE_PROXY 1
#define ZONE_APP 2

#define NAT "istio-proxy-nat"
#define MANGLE "istio-proxy-mangle"
#define RAW "istio-proxy-raw"
const char *const capture_tables[CAPTURE_TABLE_COUNT] = {NAT, MANGLE, RAW};

#define RULE(out, ...) (strbuf_addz(out, "\t\t"), strbuf_addf(out, __VA_ARGS__), strbuf_addc(out, '\n'))

static void open_chain(struct strbuf *out, const char *name, const char *base)
{
    strbuf_addf(out, "\tchain %s {\n", name);
    if (base)
        strbuf_addf(out, "\t\ttype %s; policy accept;\n", base);
}

static void close_chain(struct strbuf *out)
{
    strbuf_addz(out, "\t}\n");
}

/* "1337", "{ 80, 443 }". The list isn't empty. */
static const char *set_of(const struct capture_numbers *list, struct strbuf *text)
{
    strbuf_reset(text);
    for (size_t i = 0; i < list->count; i++)
        strbuf_addf(text, "%s%u", i ? ", " : list->count > 1 ? "{ " : "", list->items[i]);
    strbuf_addz(text, list->count > 1 ? " }" : "");
    return text->p;
}

/* "ip daddr 10.0.0.0/8"; `side` is daddr or saddr. */
static const char *range_text(const struct cidr *c, const char *side, char out[64])
{
    char ip[INET6_ADDRSTRLEN];
    bool is_v4 = c->family == AF_INET;
    inet_ntop(c->family, c->bytes, ip, sizeof ip);
    if (c->prefix_bits == (is_v4 ? 32 : 128))
        snprintf(out, 64, "%s %s %s", is_v4 ? "ip" : "ip6", side, ip);
    else
        snprintf(out, 64, "%s %s %s/%u", is_v4 ? "ip" : "ip6", side, ip, c->prefix_bits);
    return out;
}

static bool has_loopback(const struct capture_ranges *ranges)
{
    static const uint8_t v6[16] = {[15] = 1};
    for (size_t i = 0; i < ranges->count; i++) {
        const struct cidr *c = &ranges->items[i];
        if (c->family == AF_INET ? c->bytes[0] == 127 : memcmp(c->bytes, v6, sizeof v6) == 0)
            return true;
    }
    return false;
}

static bool has_inbound(const struct capture_opts *o)
{
    return o->inbound_ports.all || o->inbound_ports.count;
}

/* ---- istio-proxy-nat -------------------------------------------------------------------------------------------- */

static void virtual_interface(const struct capture_opts *o, const char *name, struct strbuf *out)
{
    char range[64];
    if (o->outbound_ranges.all)
        RULE(out, "iifname \"%s\" counter jump istio-redirect", name);
    for (size_t i = 0; i < o->outbound_ranges.count; i++)
        RULE(out, "iifname \"%s\" %s counter jump istio-redirect", name,
             range_text(&o->outbound_ranges.items[i], "daddr", range));
    RULE(out, "iifname \"%s\" counter return", name);
}

static void excluded_interfaces(const struct capture_opts *o, const char *direction, struct strbuf *out)
{
    for (size_t i = 0; i < o->excluded_interfaces.count; i++)
        RULE(out, "%s \"%s\" counter return", direction, o->excluded_interfaces.items[i]);
}

static void nat_prerouting(const struct capture_opts *o, struct strbuf *out)
{
    bool is_inbound = has_inbound(o) && o->mode == CAPTURE_REDIRECT;
    open_chain(out, "prerouting", "nat hook prerouting priority -100");
    for (size_t i = 0; i < o->virtual_interfaces.count; i++)
        virtual_interface(o, o->virtual_interfaces.items[i], out);
    excluded_interfaces(o, "iifname", out);
    if (is_inbound)
        RULE(out, "meta l4proto tcp counter jump istio-inbound");
    close_chain(out);
    if (!is_inbound)
        return;
    struct strbuf ports = {0};
    open_chain(out, "istio-inbound", NULL);
    RULE(out, "tcp dport %u counter return", (unsigned)o->tunnel_port);
    if (o->excluded_inbound_ports.count)
        RULE(out, "tcp dport %s counter return", set_of(&o->excluded_inbound_ports, &ports));
    if (o->inbound_ports.all)
        RULE(out, "meta l4proto tcp counter jump istio-in-redirect");
    else
        RULE(out, "tcp dport %s counter jump istio-in-redirect", set_of(&o->inbound_ports, &ports));
    close_chain(out);
    strbuf_fini(&ports);
}

/* What one kind of owner (skuid, skgid) of the proxy's sends. */
static void proxy_owner(const struct capture_opts *o, const char *key, const struct capture_numbers *owners, struct strbuf *out)
{
    struct strbuf who = {0}, not_inbound = {0};
    set_of(owners, &who);
    strbuf_addf(&not_inbound, o->redirect_dns ? "{ 53, %u }" : "%u", (unsigned)o->tunnel_port);
    /* The application calls its own service's address: the proxy's outbound half sends it to its inbound half. */
    RULE(out, "oifname \"lo\" ip daddr != 127.0.0.1 tcp dport != %s meta %s %s counter jump istio-in-redirect", not_inbound.p,
         key, who.p);
    RULE(out, "oifname \"lo\" ip6 daddr != ::1 tcp dport != %s meta %s %s counter jump istio-in-redirect", not_inbound.p, key,
         who.p);
    /* The application calls itself by its own address. A DNS server may stand on loopback. */
    if (!has_loopback(&o->outbound_ranges))
        RULE(out, "oifname \"lo\" %smeta %s != %s counter return", o->redirect_dns ? "tcp dport != 53 " : "", key, who.p);
    RULE(out, "meta %s %s counter return", key, who.p);
    strbuf_fini(&who);
    strbuf_fini(&not_inbound);
}

static void owner_groups(const struct capture_opts *o, struct strbuf *out)
{
    struct strbuf groups = {0};
    if (!o->owner_groups.all && o->owner_groups.count)
        RULE(out, "meta skgid != %s counter return", set_of(&o->owner_groups, &groups));
    if (o->excluded_owner_groups.count)
        RULE(out, "meta skgid %s counter return", set_of(&o->excluded_owner_groups, &groups));
    strbuf_fini(&groups);
}

static void included(const struct capture_opts *o, struct strbuf *out)
{
    struct strbuf ports = {0};
    char range[64];
    for (size_t i = 0; i < o->excluded_outbound_ranges.count; i++)
        RULE(out, "%s counter return", range_text(&o->excluded_outbound_ranges.items[i], "daddr", range));
    if (o->outbound_ports.count)
        RULE(out, "tcp dport %s counter jump istio-redirect", set_of(&o->outbound_ports, &ports));
    if (o->outbound_ranges.all)
        RULE(out, "meta l4proto tcp counter jump istio-redirect");
    for (size_t i = 0; i < o->outbound_ranges.count; i++)
        RULE(out, "%s counter jump istio-redirect", range_text(&o->outbound_ranges.items[i], "daddr", range));
    strbuf_fini(&ports);
}

static void nat_output(const struct capture_opts *o, struct strbuf *out)
{
    struct strbuf ports = {0};
    open_chain(out, "output", "nat hook output priority -100");
    excluded_interfaces(o, "oifname", out);
    RULE(out, "counter jump istio-output");
    close_chain(out);
    open_chain(out, "istio-output", NULL);
    if (o->excluded_outbound_ports.count) {
        RULE(out, "tcp dport %s counter return", set_of(&o->excluded_outbound_ports, &ports));
        RULE(out, "udp dport %s counter return", set_of(&o->excluded_outbound_ports, &ports));
    }
    /* The proxy's inbound half speaks to the application from these addresses. */
    RULE(out, "oifname \"lo\" ip saddr 127.0.0.6 counter return");
    RULE(out, "oifname \"lo\" ip6 saddr ::6 counter return");
    proxy_owner(o, "skuid", &o->uids, out);
    proxy_owner(o, "skgid", &o->gids, out);
    owner_groups(o, out);
    if (o->redirect_dns)
        RULE(out, "counter jump istio-output-dns");
    RULE(out, "ip daddr 127.0.0.1 counter return");
    RULE(out, "ip6 daddr ::1 counter return");
    included(o, out);
    close_chain(out);
    strbuf_fini(&ports);
}

static void nat_dns(const struct capture_opts *o, struct strbuf *out)
{
    static const char *const protocols[] = {"tcp", "udp"};
    char server[64];
    open_chain(out, "istio-output-dns", NULL);
    for (size_t p = 0; p < ARRAY_LEN(protocols); p++) {
        if (o->capture_all_dns)
            RULE(out, "%s dport 53 counter redirect to :%u", protocols[p], DNS_PORT);
        for (size_t i = 0; !o->capture_all_dns && i < o->dns_servers.count; i++)
            RULE(out, "%s %s dport 53 counter redirect to :%u", range_text(&o->dns_servers.items[i], "daddr", server),
                 protocols[p], DNS_PORT);
    }
    close_chain(out);
}

static void redirect_chain(const char *name, uint64_t port, struct strbuf *out)
{
    open_chain(out, name, NULL);
    RULE(out, "meta l4proto tcp counter redirect to :%u", (unsigned)port);
    close_chain(out);
}

static void nat_table(const struct capture_opts *o, struct strbuf *out)
{
    /* What is jumped to comes first, so that a reader of nft's grammar needs no second pass. */
    redirect_chain("istio-redirect", o->outbound_port, out);
    redirect_chain("istio-in-redirect", o->inbound_port, out);
    if (o->redirect_dns)
        nat_dns(o, out);
    nat_prerouting(o, out);
    nat_output(o, out);
}

/* ---- istio-proxy-mangle ----------------------------------------------------------------------------------------- */

static void tproxy_inbound(const struct capture_opts *o, struct strbuf *out)
{
    struct strbuf ports = {0};
    open_chain(out, "istio-inbound", NULL);
    RULE(out, "meta mark %u counter return", (unsigned)o->tproxy_mark);
    RULE(out, "iifname \"lo\" ip saddr 127.0.0.6 counter return");
    RULE(out, "iifname \"lo\" ip6 saddr ::6 counter return");
    RULE(out, "iifname \"lo\" meta mark != %u counter return", CAPTURE_OUTBOUND_MARK);
    RULE(out, "tcp dport %u counter return", (unsigned)o->tunnel_port);
    if (o->excluded_inbound_ports.count)
        RULE(out, "tcp dport %s counter return", set_of(&o->excluded_inbound_ports, &ports));
    const char *which = o->inbound_ports.all ? "" : set_of(&o->inbound_ports, &ports);
    const char *match = o->inbound_ports.all ? "meta l4proto tcp" : "tcp dport ";
    RULE(out, "%s%s ct state established,related counter jump istio-divert", match, which);
    RULE(out, "%s%s counter jump istio-tproxy", match, which);
    close_chain(out);
    strbuf_fini(&ports);
}

static void tproxy_chains(const struct capture_opts *o, struct strbuf *out)
{
    unsigned mark = (unsigned)o->tproxy_mark, port = (unsigned)o->inbound_port;
    open_chain(out, "istio-divert", NULL);
    RULE(out, "counter meta mark set %u accept", mark);
    close_chain(out);
    open_chain(out, "istio-tproxy", NULL);
    RULE(out, "ip daddr != 127.0.0.1 meta l4proto tcp counter tproxy ip to :%u meta mark set %u accept", port, mark);
    RULE(out, "ip6 daddr != ::1 meta l4proto tcp counter tproxy ip6 to :%u meta mark set %u accept", port, mark);
    close_chain(out);
    tproxy_inbound(o, out);
}

static void tproxy_owner(const char *key, const struct capture_numbers *owners, struct strbuf *out)
{
    struct strbuf who = {0};
    set_of(owners, &who);
    RULE(out, "oifname \"lo\" ip daddr != 127.0.0.1 meta l4proto tcp meta %s %s counter meta mark set %u", key, who.p,
         CAPTURE_OUTBOUND_MARK);
    RULE(out, "oifname \"lo\" ip6 daddr != ::1 meta l4proto tcp meta %s %s counter meta mark set %u", key, who.p,
         CAPTURE_OUTBOUND_MARK);
    strbuf_fini(&who);
}

static void tproxy_output(const struct capture_opts *o, struct strbuf *out)
{
    unsigned mark = (unsigned)o->tproxy_mark;
    /* `route`: a packet that gets the mark here must be routed again, by the mark's table; a filter chain wouldn't. */
    open_chain(out, "output", "route hook output priority -150");
    excluded_interfaces(o, "oifname", out);
    RULE(out, "oifname \"lo\" meta l4proto tcp meta mark %u counter return", mark);
    tproxy_owner("skuid", &o->uids, out);
    tproxy_owner("skgid", &o->gids, out);
    RULE(out, "meta l4proto tcp ct mark %u counter meta mark set ct mark", mark);
    close_chain(out);
}

static void mangle_table(const struct capture_opts *o, struct strbuf *out)
{
    bool is_tproxy = o->mode == CAPTURE_TPROXY && has_inbound(o);
    if (o->drop_invalid) {
        open_chain(out, "istio-drop", NULL);
        RULE(out, "counter drop");
        close_chain(out);
    }
    if (is_tproxy)
        tproxy_chains(o, out);
    open_chain(out, "prerouting", "filter hook prerouting priority -150");
    excluded_interfaces(o, "iifname", out);
    if (o->drop_invalid)
        RULE(out, "meta l4proto tcp ct state invalid counter jump istio-drop");
    if (is_tproxy) {
        RULE(out, "meta l4proto tcp counter jump istio-inbound");
        /* A mark that the proxy gave its connection to the application (original_src) marks the answers as well. */
        RULE(out, "meta l4proto tcp meta mark %u counter ct mark set meta mark", (unsigned)o->tproxy_mark);
    }
    close_chain(out);
    if (is_tproxy)
        tproxy_output(o, out);
}

/* ---- istio-proxy-raw -------------------------------------------------------------------------------------------- */

static void proxy_zones(const char *key, const struct capture_numbers *owners, struct strbuf *out)
{
    struct strbuf who = {0};
    set_of(owners, &who);
    RULE(out, "udp dport 53 meta %s %s counter ct zone set %d return", key, who.p, ZONE_PROXY);
    RULE(out, "udp sport %d meta %s %s counter ct zone set %d return", DNS_PORT, key, who.p, ZONE_APP);
    strbuf_fini(&who);
}

static void raw_table(const struct capture_opts *o, struct strbuf *out)
{
    char server[64];
    open_chain(out, "istio-inbound", NULL);
    if (o->capture_all_dns)
        RULE(out, "udp sport 53 counter ct zone set %d", ZONE_PROXY);
    for (size_t i = 0; !o->capture_all_dns && i < o->dns_servers.count; i++)
        RULE(out, "%s udp sport 53 counter ct zone set %d", range_text(&o->dns_servers.items[i], "saddr", server), ZONE_PROXY);
    close_chain(out);
    open_chain(out, "istio-output-dns", NULL);
    proxy_zones("skuid", &o->uids, out);
    proxy_zones("skgid", &o->gids, out);
    if (o->capture_all_dns)
        RULE(out, "udp dport 53 counter ct zone set %d", ZONE_APP);
    for (size_t i = 0; !o->capture_all_dns && i < o->dns_servers.count; i++)
        RULE(out, "%s udp dport 53 counter ct zone set %d", range_text(&o->dns_servers.items[i], "daddr", server), ZONE_APP);
    close_chain(out);
    open_chain(out, "prerouting", "filter hook prerouting priority -300");
    RULE(out, "counter jump istio-inbound");
    close_chain(out);
    open_chain(out, "output", "filter hook output priority -300");
    RULE(out, "counter jump istio-output-dns");
    close_chain(out);
}

static void table(const struct capture_opts *o, const char *name, void (*body)(const struct capture_opts *o, struct strbuf *out),
                  struct strbuf *out)
{
    strbuf_addf(out, "table inet %s {\n", name);
    body(o, out);
    strbuf_addz(out, "}\n");
}

void capture_rules_remove(struct strbuf *out)
{
    /* A table that isn't there can't be deleted; one that is declared is there. */
    for (size_t i = 0; i < CAPTURE_TABLE_COUNT; i++)
        strbuf_addf(out, "table inet %s\ndelete table inet %s\n", capture_tables[i], capture_tables[i]);
}

void capture_rules(const struct capture_opts *o, struct strbuf *out)
{
    capture_rules_remove(out);
    if (o->mode == CAPTURE_NONE)
        return;
    table(o, NAT, nat_table, out);
    if (o->drop_invalid || (o->mode == CAPTURE_TPROXY && has_inbound(o)))
        table(o, MANGLE, mangle_table, out);
    if (o->redirect_dns)
        table(o, RAW, raw_table, out);
}
