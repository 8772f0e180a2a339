/* SPDX-License-Identifier: Apache-2.0
 *
 * istio-iptables' flags and variables from one table. Pure: nothing is opened or looked up but the environment handed in.
 * Values are numbers and addresses; names of users, groups and services are refused, for they would mean another thing in
 * another container.
 */
#include "capture/options.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

#define DNS_CONF_BYTES_MAX (64 * 1024)

enum opt_kind { OPT_PORT, OPT_NUMBER, OPT_PORTS, OPT_IDS, OPT_RANGES, OPT_INTERFACES, OPT_MODE, OPT_SWITCH, OPT_TEXT };
struct opt {
    const char *flag; /* NULL: by environment only */
    char letter;
    const char *env;
    enum opt_kind kind;
    size_t offset;
    const char *standard; /* NULL: none, false */
    const char *help;
};

#define AT(member) offsetof(struct capture_opts, member)
static const struct opt opts[] = {
    {"envoy-port", 'p', "ENVOY_PORT", OPT_PORT, AT(outbound_port), "15001", "outbound connections go to this port"},
    {"inbound-capture-port", 'z', "INBOUND_CAPTURE_PORT", OPT_PORT, AT(inbound_port), "15006",
     "inbound connections go to this port"},
    {"inbound-tunnel-port", 'e', "INBOUND_TUNNEL_PORT", OPT_PORT, AT(tunnel_port), "15008",
     "this port is the proxy's own, left alone"},
    {"proxy-uid", 'u', "PROXY_UID", OPT_IDS, AT(uids), "1337", "users whose traffic is the proxy's own"},
    {"proxy-gid", 'g', "PROXY_GID", OPT_IDS, AT(gids), NULL, "groups whose traffic is the proxy's own; default: as proxy-uid"},
    {"istio-inbound-interception-mode", 'm', "ISTIO_INBOUND_INTERCEPTION_MODE", OPT_MODE, AT(mode), "REDIRECT",
     "REDIRECT, TPROXY or NONE"},
    {"istio-inbound-ports", 'b', "ISTIO_INBOUND_PORTS", OPT_PORTS, AT(inbound_ports), NULL,
     "inbound ports captured; *: all; default: none"},
    {"istio-local-exclude-ports", 'd', "ISTIO_LOCAL_EXCLUDE_PORTS", OPT_PORTS, AT(excluded_inbound_ports), NULL,
     "inbound ports left alone"},
    {"istio-exclude-interfaces", 'c', "ISTIO_EXCLUDE_INTERFACES", OPT_INTERFACES, AT(excluded_interfaces), NULL,
     "interfaces left alone"},
    {"istio-service-cidr", 'i', "ISTIO_SERVICE_CIDR", OPT_RANGES, AT(outbound_ranges), NULL,
     "destinations captured; *: all; default: none"},
    {"istio-service-exclude-cidr", 'x', "ISTIO_SERVICE_EXCLUDE_CIDR", OPT_RANGES, AT(excluded_outbound_ranges), NULL,
     "destinations left alone"},
    {"istio-outbound-ports", 'q', "ISTIO_OUTBOUND_PORTS", OPT_PORTS, AT(outbound_ports), NULL,
     "outbound ports captured wherever they lead"},
    {"istio-local-outbound-ports-exclude", 'o', "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE", OPT_PORTS, AT(excluded_outbound_ports),
     NULL, "outbound ports left alone"},
    {"kube-virt-interfaces", 'k', "KUBE_VIRT_INTERFACES", OPT_INTERFACES, AT(virtual_interfaces), NULL,
     "what comes in by them (from a virtual machine) is outbound"},
    {NULL, 0, "ISTIO_OUTBOUND_OWNER_GROUPS", OPT_IDS, AT(owner_groups), "*", "only these groups' traffic is captured"},
    {NULL, 0, "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", OPT_IDS, AT(excluded_owner_groups), NULL,
     "these groups' traffic is left alone"},
    {"istio-inbound-tproxy-mark", 't', "ISTIO_INBOUND_TPROXY_MARK", OPT_NUMBER, AT(tproxy_mark), "1337",
     "mark of what TPROXY hands over"},
    {"istio-inbound-tproxy-route-table", 'r', "ISTIO_INBOUND_TPROXY_ROUTE_TABLE", OPT_NUMBER, AT(tproxy_table), "133",
     "routes of what bears the mark"},
    {"redirect-dns", 0, "ISTIO_META_DNS_CAPTURE", OPT_SWITCH, AT(redirect_dns), NULL, "DNS queries go to port 15053"},
    {"capture-all-dns", 0, "CAPTURE_ALL_DNS", OPT_SWITCH, AT(capture_all_dns), NULL,
     "not only those to the servers of resolv.conf"},
    {"drop-invalid", 0, "INVALID_DROP", OPT_SWITCH, AT(drop_invalid), NULL,
     "packets out of the window are dropped, not answered by a reset"},
    {"dual-stack", 0, "ISTIO_AGENT_DUAL_STACK", OPT_SWITCH, AT(is_dual_stack), NULL,
     "no effect: the rules are for IPv4 and IPv6 always"},
    {"dry-run", 'n', "DRY_RUN", OPT_SWITCH, AT(is_dry_run), NULL, "print what would be applied"},
    {"netns", 0, NULL, OPT_TEXT, AT(netns), NULL, "network namespace, by name or path; default: the caller's"},
    {"network-namespace", 0, "NETWORK_NAMESPACE", OPT_TEXT, AT(netns), NULL, "the same"},
};

static int refuse_item(struct err *err, struct str item, const char *what)
{
    return err_set(err, ERR_INVALID, "'%.*s' is not %s", STR_ARG(item), what);
}

/* Items between commas, spaces around them dropped, empty ones skipped as istio-iptables does. Takes from *rest; false at the
 * end. */
static bool next_item(struct str *rest, struct str *item)
{
    while (rest->n) {
        *item = str_trim(str_split(*rest, ',', rest));
        if (item->n)
            return true;
    }
    return false;
}

/* Room for each item; *out is NULL for none. */
static int make_room(struct capture_opts *o, struct str value, size_t item_bytes, void **out, struct err *err)
{
    struct str item, rest = value;
    size_t count = 0;
    while (next_item(&rest, &item))
        count++;
    if (count > CAPTURE_LIST_MAX)
        return err_set(err, ERR_LIMIT, "%zu items; at most %d are taken", count, CAPTURE_LIST_MAX);
    *out = count ? arena_zalloc(&o->arena, count * item_bytes) : NULL;
    return 0;
}

static int read_number(struct str text, uint64_t max, uint64_t *out, const char *what, struct err *err)
{
    return str_to_u64(text, out) && *out <= max ? 0 : refuse_item(err, text, what);
}

static int read_port(struct str text, uint64_t *out, struct err *err)
{
    int rc = read_number(text, 65535, out, "a port from 1 to 65535", err);
    return rc == 0 && *out == 0 ? refuse_item(err, text, "a port from 1 to 65535") : rc;
}

static int read_numbers(struct capture_opts *o, enum opt_kind kind, struct str value, struct capture_numbers *out,
                        struct err *err)
{
    struct str item, rest = value;
    *out = (struct capture_numbers){.all = str_eq(value, STR("*"))};
    int rc = out->all ? 0 : make_room(o, value, sizeof *out->items, (void **)&out->items, err);
    while (rc == 0 && !out->all && next_item(&rest, &item)) {
        uint64_t n = 0;
        rc = kind == OPT_PORTS ? read_port(item, &n, err)
                               : read_number(item, UINT32_MAX - 1, &n, "the number of a user or group", err);
        if (rc == 0)
            out->items[out->count++] = (uint32_t)n;
    }
    return rc;
}

static int read_range(struct str item, struct cidr *out, struct err *err)
{
    uint64_t bits;
    struct str length, ip = str_split(item, '/', &length);
    if (str_find_char(ip, '%') >= 0 || !str_to_u64(length, &bits) || bits > 128 || cidr_parse(out, ip, (unsigned)bits, NULL) < 0)
        return refuse_item(err, item, "a range of addresses (ADDRESS/LENGTH)");
    return 0;
}

static int read_ranges(struct capture_opts *o, struct str value, struct capture_ranges *out, struct err *err)
{
    struct str item, rest = value;
    *out = (struct capture_ranges){.all = str_eq(value, STR("*"))};
    int rc = out->all ? 0 : make_room(o, value, sizeof *out->items, (void **)&out->items, err);
    while (rc == 0 && !out->all && next_item(&rest, &item)) {
        rc = read_range(item, &out->items[out->count], err);
        out->count += rc == 0;
    }
    return rc;
}

/* The kernel's rule for names, and no character that the rules' language would read otherwise; '*' at the end is its wildcard. */
static bool is_interface(struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = ascii_lower(name.p[i]);
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("_.-@", c);
        if (!is_plain && !(c == '*' && i > 0 && i + 1 == name.n))
            return false;
    }
    return name.n > 0 && name.n < IFNAMSIZ;
}

static int read_interfaces(struct capture_opts *o, struct str value, struct capture_interfaces *out, struct err *err)
{
    struct str item, rest = value;
    *out = (struct capture_interfaces){0};
    int rc = make_room(o, value, sizeof *out->items, (void **)&out->items, err);
    while (rc == 0 && next_item(&rest, &item)) {
        if (!is_interface(item))
            return refuse_item(err, item, "the name of a network interface");
        snprintf(out->items[out->count++], IFNAMSIZ, "%.*s", STR_ARG(item));
    }
    return rc;
}

static int read_mode(struct str value, enum capture_mode *out, struct err *err)
{
    static const char *const modes[] = {"REDIRECT", "TPROXY", "NONE"};
    for (size_t i = 0; i < ARRAY_LEN(modes); i++)
        if (str_eq_nocase(value, str_from(modes[i]))) {
            *out = (enum capture_mode)i;
            return 0;
        }
    return refuse_item(err, value, "REDIRECT, TPROXY or NONE");
}

static int read_switch(struct str value, bool *out, struct err *err)
{
    if (str_eq_nocase(value, STR("true")) || str_eq(value, STR("1")))
        *out = true;
    else if (str_eq_nocase(value, STR("false")) || str_eq(value, STR("0")))
        *out = false;
    else
        return refuse_item(err, value, "true or false");
    return 0;
}

static int set(struct capture_opts *o, const struct opt *opt, struct str value, struct err *err)
{
    char *at = (char *)o + opt->offset;
    switch (opt->kind) {
    case OPT_PORT:
        return read_port(value, (uint64_t *)at, err);
    case OPT_NUMBER:
        return read_number(value, UINT32_MAX, (uint64_t *)at, "a number below 2^32", err);
    case OPT_PORTS:
    case OPT_IDS:
        return read_numbers(o, opt->kind, value, (struct capture_numbers *)at, err);
    case OPT_RANGES:
        return read_ranges(o, value, (struct capture_ranges *)at, err);
    case OPT_INTERFACES:
        return read_interfaces(o, value, (struct capture_interfaces *)at, err);
    case OPT_MODE:
        return read_mode(value, (enum capture_mode *)at, err);
    case OPT_SWITCH:
        return read_switch(value, (bool *)at, err);
    case OPT_TEXT:
        *(struct str *)at = value;
        return 0;
    }
    return 0;
}

static struct str env_value(char *const *env, const char *name)
{
    size_t n = strlen(name);
    for (; env && *env; env++)
        if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
            return str_from(*env + n + 1);
    return STR_NULL;
}

int capture_opts_init(struct capture_opts *o, char *const *env, struct err *err)
{
    *o = (struct capture_opts){0};
    arena_init(&o->arena, 0);
    for (size_t i = 0; i < ARRAY_LEN(opts); i++) {
        struct str value = opts[i].env ? env_value(env, opts[i].env) : STR_NULL;
        if (!value.n)
            value = str_from(opts[i].standard);
        if (!value.n)
            continue;
        int rc = set(o, &opts[i], value, err);
        if (rc < 0) {
            err_prefix(err, "%s", opts[i].env);
            return rc;
        }
    }
    return 0;
}

void capture_opts_fini(struct capture_opts *o)
{
    arena_fini(&o->arena);
}

/* "--flag", "--flag=value", "-f"; *value stays null without '='. */
static const struct opt *find(struct str arg, struct str *value)
{
    struct str name = str_split(arg, '=', value);
    for (size_t i = 0; i < ARRAY_LEN(opts); i++) {
        const struct opt *opt = &opts[i];
        if (opt->letter && name.n == 2 && name.p[0] == '-' && name.p[1] == opt->letter)
            return opt;
        if (opt->flag && str_has_prefix(name, STR("--")) && str_eq(str_make(name.p + 2, name.n - 2), str_from(opt->flag)))
            return opt;
    }
    return NULL;
}

int capture_opts_parse(struct capture_opts *o, int argc, char *const *argv, struct err *err)
{
    for (int i = 0; i < argc; i++) {
        struct str value;
        const struct opt *opt = find(str_from(argv[i]), &value);
        if (!opt)
            return err_set(err, ERR_INVALID, "unknown argument '%s'; --help lists the flags", argv[i]);
        if (!value.p && opt->kind == OPT_SWITCH)
            value = STR("true");
        else if (!value.p && i + 1 >= argc)
            return err_set(err, ERR_INVALID, "--%s needs a value", opt->flag);
        else if (!value.p)
            value = str_from(argv[++i]);
        int rc = set(o, opt, value, err);
        if (rc < 0) {
            err_prefix(err, "--%s", opt->flag);
            return rc;
        }
    }
    if (!o->gids.count)
        o->gids = o->uids;
    return 0;
}

static int add_dns_server(struct capture_opts *o, struct str ip, struct err *err)
{
    struct cidr *at = &o->dns_servers.items[o->dns_servers.count];
    bool is_v6 = str_find_char(ip, ':') >= 0;
    if (str_find_char(ip, '%') >= 0 || cidr_parse(at, ip, is_v6 ? 128 : 32, NULL) < 0)
        return err_set(err, ERR_UNSUPPORTED, "nameserver '%.*s' is not an address without a zone; --capture-all-dns needs none",
                       STR_ARG(ip));
    o->dns_servers.count++;
    return 0;
}

int capture_opts_read_resolv(struct capture_opts *o, struct str text, struct err *err)
{
    const size_t max = 16; /* the C library asks three of them */
    if (text.n > DNS_CONF_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "resolv.conf has %zu bytes; at most %d are read", text.n, DNS_CONF_BYTES_MAX);
    o->dns_servers = (struct capture_ranges){.items = arena_zalloc(&o->arena, max * sizeof *o->dns_servers.items)};
    while (text.n && o->dns_servers.count < max) {
        struct str line = str_trim(str_split(text, '\n', &text));
        if (!str_has_prefix(line, STR("nameserver")) || line.n == 10 || (line.p[10] != ' ' && line.p[10] != '\t'))
            continue;
        int rc = add_dns_server(o, str_trim(str_make(line.p + 10, line.n - 10)), err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int check_tproxy(const struct capture_opts *o, struct err *err)
{
    if (o->tproxy_mark == 0 || o->tproxy_mark == CAPTURE_OUTBOUND_MARK)
        return err_set(err, ERR_INVALID,
                       "--istio-inbound-tproxy-mark: %d is taken: 0 is no mark, %d the proxy's outbound traffic",
                       (int)o->tproxy_mark, CAPTURE_OUTBOUND_MARK);
    if (o->tproxy_table == 0 || (o->tproxy_table >= 253 && o->tproxy_table <= 255))
        return err_set(err, ERR_INVALID, "--istio-inbound-tproxy-route-table: %d is a table of the system's",
                       (int)o->tproxy_table);
    return 0;
}

int capture_opts_check(const struct capture_opts *o, struct err *err)
{
    if (o->outbound_port == o->inbound_port || o->outbound_port == o->tunnel_port || o->inbound_port == o->tunnel_port)
        return err_set(err, ERR_INVALID, "the outbound port %d, the inbound port %d and the tunnel port %d must be three",
                       (int)o->outbound_port, (int)o->inbound_port, (int)o->tunnel_port);
    if (o->uids.all || o->gids.all || o->excluded_owner_groups.all)
        return err_set(err, ERR_INVALID,
                       "'*' for the proxy's users or groups would capture nothing; --istio-inbound-interception-mode "
                       "NONE says so");
    if (!o->uids.count)
        return err_set(err, ERR_INVALID, "--proxy-uid: without a user of its own the proxy's traffic would be captured for ever");
    if (o->excluded_outbound_ranges.all)
        return err_set(err, ERR_INVALID, "--istio-service-exclude-cidr: '*' would leave nothing to capture");
    if (o->outbound_ports.all || o->excluded_inbound_ports.all || o->excluded_outbound_ports.all)
        return err_set(err, ERR_INVALID, "'*' is for --istio-inbound-ports and --istio-service-cidr alone");
    if (!o->owner_groups.all && o->excluded_owner_groups.count)
        return err_set(err, ERR_INVALID, "ISTIO_OUTBOUND_OWNER_GROUPS and ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE can't both be set");
    if (o->capture_all_dns && !o->redirect_dns)
        return err_set(err, ERR_INVALID, "--capture-all-dns says which queries --redirect-dns takes, and that isn't set");
    if (o->redirect_dns && !o->capture_all_dns && !o->dns_servers.count)
        return err_set(err, ERR_INVALID, "--redirect-dns: resolv.conf names no server; --capture-all-dns needs none");
    return o->mode == CAPTURE_TPROXY ? check_tproxy(o, err) : 0;
}

void capture_opts_help(struct strbuf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(opts); i++) {
        const struct opt *opt = &opts[i];
        char letter[] = {'-', opt->letter, ',', 0}, name[64];
        snprintf(name, sizeof name, "%s%s", opt->flag ? "--" : "", opt->flag ? opt->flag : opt->env);
        strbuf_addf(out, "  %-3s %-37s %s", opt->letter ? letter : "", name, opt->help);
        strbuf_addf(out, opt->standard ? " (%s)\n" : "\n", opt->standard);
    }
}
