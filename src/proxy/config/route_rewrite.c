/* SPDX-License-Identifier: Apache-2.0
 *
 * Rewrites of paths and hosts, and redirects. Of the ways to rewrite a path at most one may be given.
 * Main thread.
 */
#include "proxy/route/rewrite.h"

#include "proxy/config/route_priv.h"
#include "proxy/route/redirect.h"

#include <stdio.h>

#define HOST(x) ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_##x
#define SCHEME(x) ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_##x
#define PATH(x) ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_##x

struct regex *cfg_regex_rewrite(struct config_reader *cr, const char *field, const pb_regex_rewrite *m, struct arena *a,
                                struct str *substitution)
{
    struct err err = {0};
    struct regex *r = NULL;
    IN("%s", field) {
        *substitution = arena_str(a, TEXT(m, substitution));
        if (GET(m, pattern))
            r = cfg_regex(cr, "pattern", m->pattern);
        else
            FAULT("pattern", "must be set");
        if (r && !regex_substitution_is_valid(r, *substitution, &err))
            cfg_fault_err(cr, "substitution", &err);
    }
    return r;
}

/* What is missing is left out of a path and reads "-" in a host, as in Envoy. */
static struct format *read_format(struct config_reader *cr, const char *field, struct str text, bool omit_empty)
{
    struct err err = {0};
    struct format *f = format_new(text, omit_empty, &err);
    if (!f)
        cfg_fault_err(cr, field, &err);
    return f;
}

int cfg_path_template_rewrite(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_template_rewrite *m = (const pb_template_rewrite *)msg;
    struct cfg_path_rewrite *to = out;
    struct err err = {0};
    struct str text = TEXT(m, path_template_rewrite);
    if (to->match->kind != PATH_TEMPLATE)
        return FAULT("", "needs a route that matches by path_match_policy with a path template");
    if (!to->match->path_template)
        return ERR_INVALID; /* said already */
    to->rule->path_template = path_template_rewrite_new(text, to->match->path_template, &err);
    return to->rule->path_template ? 0 : cfg_fault_err(cr, "path_template_rewrite", &err);
}

static void read_rewrite_policy(struct config_reader *cr, const pb_typed_extension *m, const struct route_match *match,
                                struct rewrite_rule *out)
{
    ProtobufCMessage *msg = NULL;
    struct cfg_path_rewrite to = {match, out};
    const struct extension *ext = cfg_extension(cr, EXT_PATH_REWRITE, "typed_config", TEXT(m, name), GET(m, typed_config), &msg);
    if (ext)
        IN("typed_config")
            ext->read(cr, msg, &to);
}

static bool read_path_rewrite(struct config_reader *cr, const pb_route_action *m, const struct route_match *match, struct arena *a,
                              struct rewrite_rule *out)
{
    struct str prefix = TEXT(m, prefix_rewrite), format = TEXT(m, path_rewrite);
    const pb_regex_rewrite *regex = GET(m, regex_rewrite);
    const pb_typed_extension *policy = GET(m, path_rewrite_policy);
    int ways = (prefix.n > 0) + (format.n > 0) + (regex != NULL) + (policy != NULL);
    if (ways > 1)
        FAULT("", "only one of prefix_rewrite, regex_rewrite, path_rewrite_policy and path_rewrite may be set");
    if (prefix.n && match->kind == PATH_TEMPLATE)
        FAULT("prefix_rewrite", "excludes path_match_policy");
    out->prefix = arena_str(a, prefix);
    if (regex)
        out->regex = cfg_regex_rewrite(cr, "regex_rewrite", regex, a, &out->substitution);
    if (policy)
        IN("path_rewrite_policy")
            read_rewrite_policy(cr, policy, match, out);
    if (format.n)
        out->path_format = read_format(cr, "path_rewrite", format, true);
    return ways > 0;
}

static void read_host_rewrite(struct config_reader *cr, const pb_route_action *m, struct arena *a, struct rewrite_rule *out)
{
    switch (m->host_rewrite_specifier_case) {
    case HOST(HOST_REWRITE_LITERAL):
        out->host_kind = HOST_REWRITE_LITERAL;
        out->host = arena_str(a, TEXT(m, host_rewrite_literal));
        break;
    case HOST(AUTO_HOST_REWRITE):
        out->host_kind = proto_bool_or(GET(m, auto_host_rewrite), false) ? HOST_REWRITE_AUTO : HOST_REWRITE_NONE;
        break;
    case HOST(HOST_REWRITE_HEADER):
        out->host_kind = HOST_REWRITE_HEADER;
        out->host = cfg_lower(a, TEXT(m, host_rewrite_header));
        break;
    case HOST(HOST_REWRITE_PATH_REGEX):
        out->host_kind = HOST_REWRITE_PATH_REGEX;
        out->host_regex = cfg_regex_rewrite(cr, "host_rewrite_path_regex", GET(m, host_rewrite_path_regex), a, &out->host_substitution);
        break;
    case HOST(HOST_REWRITE):
        out->host_kind = HOST_REWRITE_FORMAT;
        out->host_format = read_format(cr, "host_rewrite", TEXT(m, host_rewrite), false);
        break;
    default:
        break;
    }
    out->append_x_forwarded_host = GET(m, append_x_forwarded_host);
}

const struct rewrite_rule *cfg_rewrites(struct config_reader *cr, const pb_route_action *m, const struct route_match *match,
                                        struct arena *a)
{
    struct rewrite_rule rule = {0};
    bool path = read_path_rewrite(cr, m, match, a, &rule);
    read_host_rewrite(cr, m, a, &rule);
    if (!path && rule.host_kind == HOST_REWRITE_NONE)
        return NULL;
    struct rewrite_rule *out = arena_alloc(a, sizeof *out);
    *out = rule;
    return out;
}

/* ---- redirects ---- */

static uint16_t redirect_status(int code)
{
    static const uint16_t statuses[] = {301, 302, 303, 307, 308};
    return (size_t)code < ARRAY_LEN(statuses) ? statuses[code] : 301;
}

static void read_redirect_path(struct config_reader *cr, const pb_redirect *m, const struct route_match *match, struct redirect_rule *r,
                               struct arena *a)
{
    switch (m->path_rewrite_specifier_case) {
    case PATH(PATH_REDIRECT):
        r->path = arena_str(a, TEXT(m, path_redirect));
        r->path_has_query = str_find_char(r->path, '?') >= 0;
        break;
    case PATH(PREFIX_REWRITE):
        r->prefix = arena_str(a, TEXT(m, prefix_rewrite));
        if (r->prefix.n && match->kind == PATH_TEMPLATE)
            FAULT("prefix_rewrite", "excludes path_match_policy");
        break;
    case PATH(REGEX_REWRITE):
        r->regex = cfg_regex_rewrite(cr, "regex_rewrite", GET(m, regex_rewrite), a, &r->substitution);
        break;
    case PATH(PATH_REWRITE):
        r->path_format = read_format(cr, "path_rewrite", TEXT(m, path_rewrite), true);
        break;
    default:
        break;
    }
}

void cfg_redirect(struct config_reader *cr, const pb_redirect *m, struct route_entry *e, struct arena *a)
{
    struct redirect_rule *r = arena_zalloc(a, sizeof *r);
    e->action = ROUTE_REDIRECT;
    e->redirect = r;
    if (m->scheme_rewrite_specifier_case == SCHEME(HTTPS_REDIRECT))
        r->https = GET(m, https_redirect);
    else if (m->scheme_rewrite_specifier_case == SCHEME(SCHEME_REDIRECT))
        r->scheme = arena_str(a, TEXT(m, scheme_redirect));
    r->host = arena_str(a, TEXT(m, host_redirect));
    uint32_t port = GET(m, port_redirect);
    if (port)
        r->port = arena_printf(a, ":%u", port);
    read_redirect_path(cr, m, &e->match, r, a);
    r->strip_query = GET(m, strip_query);
    r->status = redirect_status(GET(m, response_code));
}
