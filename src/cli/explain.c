/* SPDX-License-Identifier: Apache-2.0
 *
 * weft explain: asks a proxy's /explain and says in sentences which objects of the mesh decide. What it says is the proxy's
 * word; nothing is worked out here.
 */
#include "cli/cli.h"

#include "base/check.h"
#include "cli/args.h"
#include "cli/ask.h"
#include "cli/owner.h"
#include "cli/proxies.h"

#include <string.h>

struct question {
    const char *url, *from, *admin;
    const char *fields[5];           /* as below */
    const char *headers[ARGS_REPEATED_MAX];
    uint32_t header_count;
};
static const char *const field_names[] = {"method", "destination", "source", "principal", "listener"};

static int help(FILE *to)
{
    fputs("usage: weft explain URL --from PROXY [--admin IP:PORT] [--method M] [--header 'NAME: VALUE']... [-o json]\n\n"
          "Where a request for URL goes that the workload of PROXY makes, and which VirtualService, DestinationRule, policy and\n"
          "endpoint decide that; also what was tried and doesn't fit. Nothing is sent to the service.\n\n"
          "  --from PROXY          NAME.NAMESPACE or NAME, of whom the admin page must be; or the page's IP:PORT\n"
          "  --admin IP:PORT       its admin page (" ASK_ADMIN ", which is there within its pod)\n"
          "  --method M            GET\n"
          "  --header 'N: V'       any number of times\n"
          "  --destination IP:PORT that the connection goes to; as the URL says\n"
          "  --listener NAME       that takes the connection, as virtualInbound does those of others\n"
          "  --source IP           the client's address\n"
          "  --principal ID        the SPIFFE ID that the client's certificate has\n", to);
    return to == stdout ? CLI_DONE : CLI_USAGE;
}

/* ---- sentences ---- */

/* "VirtualService bookinfo/reviews", or the text itself. */
static void add_object(struct strbuf *b, const char *config)
{
    struct owner o;
    if (!owner_read(config, &o)) {
        strbuf_addz(b, config);
        return;
    }
    owner_add_kind(&o, b);
    strbuf_addf(b, " %.*s/%.*s", STR_ARG(o.ns), STR_ARG(o.name));
}

static struct str bracketed(struct str *rest, const char *name)
{
    ptrdiff_t at = str_find(*rest, str_from(name));
    struct str behind;
    if (at < 0)
        return STR_NULL;
    struct str found = str_split(str_make(rest->p + at + strlen(name), rest->n - (size_t)at - strlen(name)), ']', &behind);
    *rest = behind;
    return found;
}

/* "policy ns[bookinfo]-policy[closed]-rule[0] denies": "AuthorizationPolicy bookinfo/closed, rule 0, denies". */
static void add_policy(struct strbuf *b, const char *text)
{
    struct str rest = str_from(text);
    bool is_policy = str_has_prefix(rest, STR("policy "));
    struct str ns = bracketed(&rest, "ns["), name = bracketed(&rest, "-policy["), rule = bracketed(&rest, "-rule[");
    if (is_policy && ns.p && name.p && rule.p)
        strbuf_addf(b, "AuthorizationPolicy %.*s/%.*s, rule %.*s,%.*s", STR_ARG(ns), STR_ARG(name), STR_ARG(rule), STR_ARG(rest));
    else
        strbuf_addz(b, text);
}

static void say_connection(struct strbuf *b, const json_t *r)
{
    const char *listener = ask_text(r, "listener.name"), *chain = ask_text(r, "filter_chain.name");
    if (!*listener) {
        strbuf_addf(b, "No listener takes a connection to %s.\n", ask_text(r, "destination"));
        return;
    }
    strbuf_addf(b, "Listener %s takes the connection (%s)", listener, ask_text(r, "listener.why"));
    if (*chain)
        strbuf_addf(b, ", filter chain %s (%s)", chain, ask_text(r, "filter_chain.why"));
    strbuf_addz(b, *chain ? ".\n" : ", but none of its filter chains fits.\n");
}

static void say_host(struct strbuf *b, const json_t *r)
{
    const char *name = ask_text(r, "virtual_host.name");
    if (*name)
        strbuf_addf(b, "Virtual host %s of the routes %s is found by %s.\n", name, ask_text(r, "route_config"), ask_text(r, "virtual_host.found_by"));
    else if (ask_field(r, "virtual_host"))
        strbuf_addf(b, "No virtual host of the routes %s is for %s.\n", ask_text(r, "route_config"), ask_text(r, "virtual_host.asked_for"));
}

static void say_refused(struct strbuf *b, const json_t *route)
{
    size_t i, shown = json_array_size(ask_field(route, "refused"));
    uint64_t all = ask_number(route, "refused_total");
    const json_t *one;
    json_array_foreach(ask_field(route, "refused"), i, one)
        strbuf_addf(b, "  Not route %llu%s%s: its %s wants %s, the request has %s.\n", (unsigned long long)ask_number(one, "index"),
                    *ask_text(one, "name") ? " " : "", ask_text(one, "name"), ask_text(one, "part"), ask_text(one, "wants"),
                    ask_text(one, "has"));
    if (all > shown)
        strbuf_addf(b, "  Nor %llu other routes before it.\n", (unsigned long long)(all - shown));
}

static void say_settings(struct strbuf *b, const json_t *says)
{
    const char *key;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)says, key, value)
        if (strcmp(key, "object") != 0 && strcmp(key, "action") != 0 && strcmp(key, "cluster") != 0 && json_is_string(value))
            strbuf_addf(b, "  %s: %s\n", key, json_string_value(value));
}

static void say_route(struct strbuf *b, const json_t *r)
{
    const json_t *route = ask_field(r, "route"), *share;
    const char *object = ask_text(route, "says.object");
    size_t i;
    if (!route)
        return;
    if (!ask_field(route, "index")) {
        strbuf_addf(b, "None of its %llu routes fits.\n", (unsigned long long)ask_number(route, "of"));
        say_refused(b, route);
        return;
    }
    if (*object) {
        add_object(b, object);
        strbuf_addz(b, " decides by");
    } else {
        strbuf_addz(b, "No VirtualService decides, but");
    }
    strbuf_addf(b, " route %llu of %llu%s%s (%s).\n", (unsigned long long)ask_number(route, "index"), (unsigned long long)ask_number(route, "of"),
                *ask_text(route, "name") ? ", " : "", ask_text(route, "name"), ask_text(route, "path"));
    say_refused(b, route);
    say_settings(b, ask_field(route, "says"));
    json_array_foreach(ask_field(route, "shares"), i, share)
        strbuf_addf(b, "  %s gets %s\n", ask_text(share, "cluster"), ask_text(share, "share"));
}

/* What access control says, from the network's filters and HTTP's. */
static uint32_t say_policies(struct strbuf *b, const json_t *filters)
{
    uint32_t n = 0;
    size_t i, k;
    const json_t *filter, *line;
    json_array_foreach(filters, i, filter) {
        const json_t *says = ask_field(filter, "says");
        if (json_is_string(says) && ++n) {
            add_policy(b, json_string_value(says));
            strbuf_addz(b, ".\n");
        }
        json_array_foreach(says, k, line) {
            n++;
            strbuf_addz(b, k ? "  " : "");
            add_policy(b, json_string_value(line) ? json_string_value(line) : "");
            strbuf_addz(b, ".\n");
        }
    }
    return n;
}

static const char *fact(const json_t *cluster, const char *name)
{
    size_t i;
    const json_t *one;
    json_array_foreach(ask_field(cluster, "facts"), i, one)
        if (strcmp(ask_text(one, "name"), name) == 0)
            return ask_text(one, "value");
    return "";
}

static void say_cluster(struct strbuf *b, const json_t *r)
{
    const json_t *cluster = ask_field(r, "cluster"), *one;
    size_t i;
    const char *object = fact(cluster, "object");
    if (!cluster)
        return;
    if (*object)
        add_object(b, object);
    else
        strbuf_addz(b, "No DestinationRule");
    strbuf_addf(b, " shapes the cluster %s (%s, %s):", ask_text(cluster, "name"), ask_text(cluster, "type"), ask_text(cluster, "policy"));
    json_array_foreach(ask_field(cluster, "facts"), i, one)
        if (strcmp(ask_text(one, "name"), "object") != 0)
            strbuf_addf(b, " %s %s;", ask_text(one, "name"), ask_text(one, "value"));
    b->p[b->n - 1] = '.';
    strbuf_addc(b, '\n');
    if (ask_number(cluster, "endpoint_count"))
        strbuf_addf(b, "%llu of its %llu endpoints may be chosen:\n", (unsigned long long)ask_number(cluster, "stand_by"),
                    (unsigned long long)ask_number(cluster, "endpoint_count"));
    json_array_foreach(ask_field(cluster, "endpoints"), i, one)
        strbuf_addf(b, "  %s %s: %s%s%s%s\n", ask_text(one, "address"), json_is_true(ask_field(one, "stands_by")) ? "may be chosen" : "may not",
                    ask_text(one, "health"), strcmp(ask_text(one, "transport"), "tls") == 0 ? ", over TLS" : "", *ask_text(one, "ejection") ? ", " : "", ask_text(one, "ejection"));
    if (ask_number(cluster, "endpoints_left_out"))
        strbuf_addf(b, "  and %llu more\n", (unsigned long long)ask_number(cluster, "endpoints_left_out"));
}

static void say(const struct question *q, const json_t *r, struct strbuf *b)
{
    size_t i;
    const json_t *note;
    strbuf_addf(b, "%s %s", q->fields[0] ? q->fields[0] : "GET", q->url);
    if (q->from)
        strbuf_addf(b, " from %s", q->from);
    strbuf_addf(b, ": %s\n\n", ask_text(r, "verdict.text"));
    say_connection(b, r);
    say_host(b, r);
    say_route(b, r);
    if (say_policies(b, ask_field(r, "filter_chain.filters")) + say_policies(b, ask_field(r, "filters")) == 0)
        strbuf_addz(b, "No policy of this proxy looks at it; those of the destination are its own proxy's to ask.\n");
    say_cluster(b, r);
    json_array_foreach(ask_field(r, "notes"), i, note)
        strbuf_addf(b, "Note: %s: %s\n", ask_text(note, "of"), ask_text(note, "text"));
}

/* ---- the question ---- */

static int add_text(const char *text, size_t n, void *arg)
{
    strbuf_add(arg, text, n);
    return 0;
}

static json_t *body_of(const struct question *q, struct err *err)
{
    json_t *body = json_object(), *headers = json_array();
    int failed = json_object_set_new(body, "url", json_string(q->url)); /* all that can fail is text that isn't UTF-8 */
    for (size_t i = 0; i < ARRAY_LEN(field_names); i++)
        if (q->fields[i])
            failed |= json_object_set_new(body, field_names[i], json_string(q->fields[i]));
    for (uint32_t i = 0; i < q->header_count; i++)
        failed |= json_array_append_new(headers, json_string(q->headers[i]));
    json_object_set_new(body, "headers", headers);
    if (!failed)
        return body;
    err_set(err, ERR_INVALID, "the question has text that isn't UTF-8");
    json_decref(body);
    return NULL;
}

static int ask(const struct question *q, const char *admin, json_t **out, struct err *err)
{
    json_t *body = body_of(q, err);
    struct strbuf text = {0};
    if (!body)
        return err->code;
    json_dump_callback(body, add_text, &text, JSON_COMPACT);
    int rc = ask_json(admin, "/explain?format=json", strbuf_str(&text), out, err);
    if (rc == 0 && !*ask_text(*out, "verdict.text"))
        rc = err_set(err, ERR_INVALID, "http://%s/explain: tells no verdict", admin);
    json_decref(body);
    strbuf_fini(&text);
    return rc;
}

static int run(const struct question *q, bool as_json, struct err *err)
{
    bool is_address = q->from && proxies_is_address(q->from);
    const char *admin = q->admin ? q->admin : is_address ? q->from : ASK_ADMIN;
    json_t *report = NULL;
    if (q->from && !is_address && proxies_check_admin(admin, q->from, err) < 0)
        return err->code;
    int rc = ask(q, admin, &report, err);
    if (rc == 0 && as_json) {
        ask_print(report);
    } else if (rc == 0) {
        struct strbuf text = {0};
        say(q, report, &text);
        for (size_t i = 0; i < text.n; i++) /* what others sent doesn't steer the terminal */
            if (text.p[i] != '\n' && ((unsigned char)text.p[i] < ' ' || text.p[i] == 0x7f))
                text.p[i] = '?';
        fputs(text.p, stdout);
        strbuf_fini(&text);
    }
    json_decref(report);
    return rc;
}

static int check(const struct question *q, struct err *err)
{
    for (uint32_t i = 0; i < q->header_count; i++)
        if (!strchr(q->headers[i], ':'))
            return err_set(err, ERR_INVALID, "--header '%s' is not 'NAME: VALUE'", q->headers[i]);
    return q->from || q->admin ? 0 : err_set(err, ERR_INVALID, "from which proxy? --from PROXY or --admin IP:PORT");
}

int cli_explain(int argc, char **argv)
{
    struct question q = {0};
    const struct args_flag flags[] = {
        {"--from", &q.from, NULL}, {"--admin", &q.admin, NULL}, {"--header", q.headers, &q.header_count}, {"-H", q.headers, &q.header_count},
        {"--method", &q.fields[0], NULL}, {"--destination", &q.fields[1], NULL}, {"--source", &q.fields[2], NULL},
        {"--principal", &q.fields[3], NULL}, {"--listener", &q.fields[4], NULL}};
    struct args a = {.flags = flags, .flag_count = ARRAY_LEN(flags), .words = &q.url, .words_max = 1};
    struct err err = {0};
    if (args_read(&a, argc, argv, &err) < 0)
        return cli_fail("explain", &err, CLI_USAGE);
    if (a.wants_help || !q.url)
        return help(a.wants_help ? stdout : stderr);
    if (check(&q, &err) < 0)
        return cli_fail("explain", &err, CLI_USAGE);
    return run(&q, a.output != NULL, &err) < 0 ? cli_fail("explain", &err, CLI_FAILED) : CLI_DONE;
}
