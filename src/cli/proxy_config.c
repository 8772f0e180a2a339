/* SPDX-License-Identifier: Apache-2.0
 *
 * weft proxy-config: what a proxy has, as tables or as the resources themselves.
 */
#include "cli/cli.h"

#include "base/check.h"
#include "cli/args.h"
#include "cli/ask.h"
#include "cli/owner.h"
#include "cli/proxies.h"
#include "cli/secrets.h"
#include "cli/table.h"

#include <string.h>

#define DOMAINS_SHOWN 2

static int help(FILE *to)
{
    fputs("usage: weft proxy-config listeners|routes|clusters|endpoints|secrets|all PROXY [--weftd IP:PORT | --admin IP:PORT] [-o json]\n"
          "       weft proxy-config ... --admin IP:PORT\n\n"
          "What a proxy has, from its own admin page where that is given (PROXY may be its IP:PORT), else what weftd (" ASK_WEFTD ")\n"
          "has sent it. PROXY is NAME.NAMESPACE, NAME or the whole id; see weft proxy-status. Secrets are told by proxies alone, and\n"
          "never their keys.\n", to);
    return to == stdout ? CLI_DONE : CLI_USAGE;
}

/* ---- cells ---- */

static void add_address(struct strbuf *b, const json_t *address)
{
    const char *ip = ask_text(address, "socket_address.address"), *path = ask_text(address, "pipe.path");
    if (*ip)
        strbuf_addf(b, strchr(ip, ':') ? "[%s]:%llu" : "%s:%llu", ip, (unsigned long long)ask_number(address, "socket_address.port_value"));
    else if (*path)
        strbuf_addz(b, path);
    else
        strbuf_addz(b, ask_text(address, "envoy_internal_address.server_listener_name"));
}

static void add_cell(struct table *t, struct strbuf *b)
{
    table_add(t, b->n ? b->p : "");
    strbuf_reset(b);
}

static void add_owner(struct table *t, const json_t *resource)
{
    struct owner o;
    if (owner_read(ask_text(resource, "metadata.filter_metadata.istio.config"), &o))
        table_addf(t, "%.*s.%.*s", STR_ARG(o.name), STR_ARG(o.ns));
    else
        table_add(t, "");
}

/* "a, b + 3 more" */
static void add_list(struct strbuf *b, const char *title, const json_t *list, size_t most)
{
    size_t i, n = json_array_size(list);
    const json_t *one;
    if (n)
        strbuf_addf(b, "%s%s", b->n ? "; " : "", title);
    json_array_foreach(list, i, one) {
        if (i == most)
            break;
        strbuf_addf(b, "%s%s", i ? ", " : "", json_string_value(one) ? json_string_value(one) : "?");
    }
    if (n > most)
        strbuf_addf(b, " + %zu more", n - most);
}

/* ---- listeners ---- */

static void add_chain_match(struct strbuf *b, const json_t *match)
{
    size_t i;
    const json_t *range;
    const char *transport = ask_text(match, "transport_protocol");
    if (*transport)
        strbuf_addf(b, "Trans: %s", transport);
    add_list(b, "App: ", ask_field(match, "application_protocols"), 8);
    add_list(b, "SNI: ", ask_field(match, "server_names"), DOMAINS_SHOWN);
    json_array_foreach(ask_field(match, "prefix_ranges"), i, range)
        strbuf_addf(b, "%s%s/%llu", i ? ", " : b->n ? "; Addr: " : "Addr: ", ask_text(range, "address_prefix"),
                    (unsigned long long)ask_number(range, "prefix_len"));
    if (ask_field(match, "destination_port"))
        strbuf_addf(b, "%sPort: %llu", b->n ? "; " : "", (unsigned long long)ask_number(match, "destination_port"));
    if (!b->n)
        strbuf_addz(b, "ALL");
}

static void add_inline_routes(struct strbuf *b, const json_t *hosts)
{
    size_t i;
    const json_t *host;
    strbuf_addz(b, "Inline Route:");
    json_array_foreach(hosts, i, host)
        strbuf_addf(b, "%s%s", i ? ", " : " ", ask_text(host, "name"));
}

static void add_destination(struct strbuf *b, const json_t *chain)
{
    size_t i, k;
    const json_t *filter, *one;
    json_array_foreach(ask_field(chain, "filters"), i, filter) {
        const json_t *config = ask_field(filter, "typed_config");
        if (ask_field(config, "rds"))
            strbuf_addf(b, "Route: %s", ask_text(config, "rds.route_config_name"));
        else if (ask_field(config, "route_config"))
            add_inline_routes(b, ask_field(config, "route_config.virtual_hosts"));
        else if (*ask_text(config, "cluster"))
            strbuf_addf(b, "Cluster: %s", ask_text(config, "cluster"));
        json_array_foreach(ask_field(config, "weighted_clusters.clusters"), k, one)
            strbuf_addf(b, "%s%s (%llu)", k ? ", " : "Clusters: ", ask_text(one, "name"), (unsigned long long)ask_number(one, "weight"));
    }
    if (!b->n)
        strbuf_addz(b, "Non-HTTP/Non-TCP");
}

static void add_chain(struct table *t, const json_t *listener, const json_t *chain, const char *match)
{
    struct strbuf b = {0};
    const json_t *address = ask_field(listener, "address");
    const char *ip = ask_text(address, "socket_address.address");
    if (*ip)
        strbuf_addz(&b, ip);
    else
        add_address(&b, address);
    add_cell(t, &b);
    table_addf(t, "%llu", (unsigned long long)ask_number(address, "socket_address.port_value"));
    if (*match)
        strbuf_addz(&b, match);
    else
        add_chain_match(&b, ask_field(chain, "filter_chain_match"));
    add_cell(t, &b);
    add_destination(&b, chain);
    add_cell(t, &b);
    strbuf_fini(&b);
}

static void add_listener(struct table *t, const json_t *listener)
{
    size_t i;
    const json_t *chain;
    json_array_foreach(ask_field(listener, "filter_chains"), i, chain)
        add_chain(t, listener, chain, "");
    chain = ask_field(listener, "default_filter_chain");
    if (chain)
        add_chain(t, listener, chain, "ALL");
}

/* ---- routes ---- */

static void add_route_match(struct strbuf *b, const json_t *match)
{
    static const struct { const char *field, *before, *behind; } forms[] = {
        {"prefix", "", "*"}, {"path", "", ""}, {"path_separated_prefix", "", "[/*]"}, {"safe_regex.regex", "regex ", ""}};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        if (*ask_text(match, forms[i].field))
            strbuf_addf(b, "%s%s%s", forms[i].before, ask_text(match, forms[i].field), forms[i].behind);
    size_t more = json_array_size(ask_field(match, "headers")) + json_array_size(ask_field(match, "query_parameters"));
    if (more)
        strbuf_addf(b, "%s(+ %zu more)", b->n ? " " : "", more);
}

static void add_route(struct table *t, const json_t *config, const json_t *host, const json_t *route)
{
    struct strbuf b = {0};
    table_add(t, ask_text(config, "name"));
    table_add(t, ask_text(host, "name"));
    add_list(&b, "", ask_field(host, "domains"), DOMAINS_SHOWN);
    add_cell(t, &b);
    add_route_match(&b, ask_field(route, "match"));
    add_cell(t, &b);
    add_owner(t, route);
    strbuf_fini(&b);
}

static void add_routes(struct table *t, const json_t *config)
{
    size_t i, k;
    const json_t *host, *route;
    json_array_foreach(ask_field(config, "virtual_hosts"), i, host)
        json_array_foreach(ask_field(host, "routes"), k, route)
            add_route(t, config, host, route);
}

/* ---- clusters ---- */

/* "outbound|9080|v1|reviews.bookinfo.svc.cluster.local" */
static void add_cluster_name(struct table *t, const char *name)
{
    struct str rest, direction = str_split(str_from(name), '|', &rest), port = str_split(rest, '|', &rest);
    struct str subset = str_split(rest, '|', &rest);
    bool is_ours = rest.p != NULL;
    const struct str cells[] = {is_ours ? rest : str_from(name), is_ours ? port : STR(""), is_ours ? subset : STR(""),
                                is_ours ? direction : STR("")};
    for (size_t i = 0; i < ARRAY_LEN(cells); i++)
        table_addf(t, "%.*s", STR_ARG(cells[i]));
}

static void add_cluster(struct table *t, const json_t *cluster)
{
    const char *type = ask_text(cluster, "type"), *own = ask_text(cluster, "cluster_type.name");
    add_cluster_name(t, ask_text(cluster, "name"));
    table_add(t, *own ? own : *type ? type : "STATIC"); /* the first of its values isn't written */
    add_owner(t, cluster);
}

/* ---- endpoints ---- */

static void add_endpoint(struct table *t, const json_t *address, const char *status, const char *outlier, const char *cluster)
{
    struct strbuf b = {0};
    add_address(&b, address);
    add_cell(t, &b);
    table_add(t, status);
    table_add(t, outlier);
    table_add(t, cluster);
    strbuf_fini(&b);
}

/* A ClusterStatus of the admin page, which knows what became of endpoints. */
static void add_hosts(struct table *t, const json_t *status)
{
    size_t i;
    const json_t *host;
    json_array_foreach(ask_field(status, "host_statuses"), i, host) {
        const json_t *health = ask_field(host, "health_status");
        const char *eds = ask_text(health, "eds_health_status");
        bool failed = json_is_true(ask_field(health, "failed_active_health_check"));
        add_endpoint(t, ask_field(host, "address"), failed ? "UNHEALTHY" : *eds ? eds : "HEALTHY",
                     json_is_true(ask_field(health, "failed_outlier_check")) ? "FAILED" : "OK", ask_text(status, "name"));
    }
}

static void add_endpoints(struct table *t, const json_t *assignment)
{
    size_t i, k;
    const json_t *place, *one;
    add_hosts(t, assignment);
    json_array_foreach(ask_field(assignment, "endpoints"), i, place)
        json_array_foreach(ask_field(place, "lb_endpoints"), k, one) {
            const char *health = ask_text(one, "health_status");
            add_endpoint(t, ask_field(one, "endpoint.address"), *health ? health : "HEALTHY", "", ask_text(assignment, "cluster_name"));
        }
}

/* ---- the whole ---- */

#define COLUMNS(...) {__VA_ARGS__}, sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *)
static const struct kind {
    const char *name, *one; /* both are understood */
    const char *head[TABLE_COLUMNS_MAX];
    size_t columns;
    void (*add)(struct table *t, const json_t *resource);
} kinds[] = {
    {"listeners", "listener", COLUMNS("ADDRESSES", "PORT", "MATCH", "DESTINATION"), add_listener},
    {"routes", "route", COLUMNS("NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"), add_routes},
    {"clusters", "cluster", COLUMNS("SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"), add_cluster},
    {"endpoints", "endpoint", COLUMNS("ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"), add_endpoints},
    {"secrets", "secret", COLUMNS(SECRETS_HEAD), secrets_add_row},
};

static const struct kind *find_kind(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0 || strcmp(kinds[i].one, name) == 0)
            return &kinds[i];
    return NULL;
}

static void print(const json_t *config, const struct kind *kind)
{
    struct table t;
    size_t i;
    const json_t *resource;
    table_init(&t, kind->head, kind->columns);
    json_array_foreach(json_object_get(config, kind->name), i, resource)
        kind->add(&t, resource);
    table_print(&t, stdout);
    table_fini(&t);
}

static void print_all(const json_t *config)
{
    bool is_first = true;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (json_array_size(json_object_get(config, kinds[i].name)) == 0)
            continue;
        if (!is_first)
            putchar('\n');
        print(config, &kinds[i]);
        is_first = false;
    }
}

struct question {
    const char *kind, *proxy, *weftd, *admin;
};

static int read_config(const struct question *q, json_t **out, struct err *err)
{
    json_t *list = NULL;
    const json_t *proxy;
    const char *admin = q->admin ? q->admin : q->proxy && proxies_is_address(q->proxy) ? q->proxy : NULL;
    if (admin && q->proxy && !proxies_is_address(q->proxy) && proxies_check_admin(admin, q->proxy, err) < 0)
        return err->code;
    if (admin)
        return proxies_config_of_admin(admin, out, err);
    if (strncmp(q->kind, "secret", 6) == 0)
        return err_set(err, ERR_UNSUPPORTED, "weftd tells no secrets; ask the proxy by --admin IP:PORT");
    const char *weftd = q->weftd ? q->weftd : ASK_WEFTD;
    int rc = proxies_read(weftd, &list, err);
    if (rc == 0)
        rc = proxies_find(list, q->proxy, &proxy, err);
    if (rc == 0)
        rc = proxies_config_of_weftd(weftd, ask_text(proxy, "proxy"), out, err);
    json_decref(list);
    return rc;
}

static int check(const struct question *q, struct err *err)
{
    if (strcmp(q->kind, "all") != 0 && !find_kind(q->kind))
        return err_set(err, ERR_INVALID, "there is no '%s' (listeners, routes, clusters, endpoints, secrets, all)", q->kind);
    if (!q->proxy && !q->admin)
        return err_set(err, ERR_INVALID, "of which proxy? PROXY or --admin IP:PORT");
    if (q->weftd && q->admin)
        return err_set(err, ERR_INVALID, "--weftd or --admin, not both");
    return 0;
}

int cli_proxy_config(int argc, char **argv)
{
    const char *words[2] = {0};
    struct question q = {0};
    const struct args_flag flags[] = {{"--weftd", &q.weftd, NULL}, {"--admin", &q.admin, NULL}};
    struct args a = {.flags = flags, .flag_count = ARRAY_LEN(flags), .words = words, .words_max = 2};
    struct err err = {0};
    json_t *config = NULL;
    if (args_read(&a, argc, argv, &err) < 0)
        return cli_fail("proxy-config", &err, CLI_USAGE);
    if (a.wants_help || !a.word_count)
        return help(a.wants_help ? stdout : stderr);
    q.kind = words[0], q.proxy = words[1];
    if (check(&q, &err) < 0)
        return cli_fail("proxy-config", &err, CLI_USAGE);
    if (read_config(&q, &config, &err) < 0)
        return cli_fail("proxy-config", &err, CLI_FAILED);
    const struct kind *kind = find_kind(q.kind);
    if (a.output)
        ask_print(kind ? json_object_get(config, kind->name) : config);
    else if (kind)
        print(config, kind);
    else
        print_all(config);
    json_decref(config);
    return CLI_DONE;
}
