/* SPDX-License-Identifier: Apache-2.0
 *
 * Readers of the small messages that everything else is made of: addresses, ranges, socket options,
 * data sources, string, regex and header matchers. Main thread, at configuration time; text goes to
 * the caller's arena.
 */
#include "proxy/config/config_priv.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file that a configuration names: certificates, bodies, lists. Stops a path to /dev/zero. */
#define FILE_LIMIT_BYTES ((size_t)16 << 20)

struct str cfg_lower(struct arena *a, struct str s)
{
    struct str copy = arena_str(a, s);
    for (size_t i = 0; i < copy.n; i++)
        ((char *)copy.p)[i] = ascii_lower(copy.p[i]);
    return copy;
}

void cfg_key_str(struct strbuf *key, struct str s)
{
    uint64_t n = s.n;
    strbuf_add(key, &n, sizeof n);
    strbuf_add(key, s.p, s.n);
}

int cfg_fault_err(struct config_reader *cr, const char *field, const struct err *err)
{
    char at[ERR_PATH_BYTES + 64];
    snprintf(at, sizeof at, "%s%s%s", field ? field : "", field && *field && err->path[0] ? "." : "", err->path);
    return proto_fault(&cr->r, err->code, at, "%s", err->message);
}

int cfg_socket_address(struct config_reader *cr, const pb_socket_address *m, struct addr *out, bool *ipv4_compat)
{
    struct err err = {0};
    uint32_t port = 0;
    bool compat = GET(m, ipv4_compat);
    if (ipv4_compat)
        *ipv4_compat = compat;
    if (GET(m, protocol) != ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PROTOCOL__TCP)
        UNSUPPORTED("protocol", "UDP");
    if (m->port_specifier_case == ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PORT_SPECIFIER_NAMED_PORT)
        UNSUPPORTED("named_port", NULL), (void)GET(m, named_port);
    else
        port = GET(m, port_value);
    struct str ip = TEXT(m, address);
    if (port > 65535)
        return FAULT("port_value", "%u is not a port", port);
    if (addr_from_ip(out, ip, (uint16_t)port, &err) < 0)
        return cfg_fault_err(cr, "address", &err);
    return 0;
}

static int read_pipe(struct config_reader *cr, const pb_pipe *m, struct addr *out, uint32_t *unix_mode)
{
    struct err err = {0};
    uint32_t mode = GET(m, mode);
    if (unix_mode)
        *unix_mode = mode;
    if (addr_from_unix(out, TEXT(m, path), &err) < 0)
        return cfg_fault_err(cr, "path", &err);
    return 0;
}

int cfg_address(struct config_reader *cr, const pb_address *m, struct addr *out, uint32_t *unix_mode, bool *ipv4_compat)
{
    int rc = ERR_UNSUPPORTED;
    memset(out, 0, sizeof *out);
    switch (m->address_case) {
    case ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS:
        IN("socket_address")
            rc = cfg_socket_address(cr, GET(m, socket_address), out, ipv4_compat);
        return rc;
    case ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_PIPE:
        IN("pipe")
            rc = read_pipe(cr, GET(m, pipe), out, unix_mode);
        return rc;
    default:
        proto_read_whole(&cr->r, &m->base);
        UNSUPPORTED("envoy_internal_address", NULL);
        return rc;
    }
}

int cfg_cidr(struct config_reader *cr, const pb_cidr_range *m, struct cidr *out)
{
    struct err err = {0};
    if (cidr_parse(out, TEXT(m, address_prefix), proto_u32_or(GET(m, prefix_len), 0), &err) < 0)
        return cfg_fault_err(cr, "", &err);
    return 0;
}

struct cidr *cfg_cidrs(struct config_reader *cr, struct arena *a, const char *field, pb_cidr_range *const *items, uint32_t n)
{
    struct cidr *out = ARENA_ARRAY(a, struct cidr, n);
    for (uint32_t i = 0; i < n; i++)
        IN("%s[%u]", field, i)
            cfg_cidr(cr, items[i], &out[i]);
    return out;
}

struct cidr *cfg_xds_cidrs(struct config_reader *cr, struct arena *a, const char *field, pb_xds_cidr_range *const *items, uint32_t n)
{
    struct cidr *out = ARENA_ARRAY(a, struct cidr, n);
    for (uint32_t i = 0; i < n; i++)
        IN("%s[%u]", field, i) {
            struct err err = {0};
            if (cidr_parse(&out[i], TEXT(items[i], address_prefix), proto_u32_or(GET(items[i], prefix_len), 0), &err) < 0)
                cfg_fault_err(cr, "", &err);
        }
    return out;
}

static void read_sock_opt(struct config_reader *cr, struct arena *a, const pb_socket_option *m, struct sock_opt *o)
{
    (void)GET(m, description);
    o->level = (int)GET(m, level);
    o->name = (int)GET(m, name);
    if (m->value_case == ENVOY__CONFIG__CORE__V3__SOCKET_OPTION__VALUE_BUF_VALUE) {
        o->bytes_value = arena_str(a, PROTO_BYTES(&cr->r, m, buf_value));
        return;
    }
    int64_t value = GET(m, int_value);
    o->int_value = (int)value;
    if (value != (int)value)
        FAULT("int_value", "%lld does not fit a socket option", (long long)value);
}

struct sock_opt *cfg_sock_opts(struct config_reader *cr, struct arena *a, const char *field, pb_socket_option *const *items,
                               uint32_t n, enum cfg_sock_state state, uint32_t *count)
{
    struct sock_opt *out = ARENA_ARRAY(a, struct sock_opt, n);
    *count = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool listening = GET(items[i], state) == ENVOY__CONFIG__CORE__V3__SOCKET_OPTION__SOCKET_STATE__STATE_LISTENING;
        if (listening == (state == CFG_SOCK_LISTENING))
            IN("%s[%u]", field, i)
                read_sock_opt(cr, a, items[i], &out[(*count)++]);
    }
    return out;
}

void cfg_keepalive(struct config_reader *cr, const pb_tcp_keepalive *m, bool *on, int *probes, int *time_s, int *interval_s)
{
    if (!m)
        return;
    *on = true;
    *probes = (int)proto_u32_or(GET(m, keepalive_probes), (uint32_t)-1);
    *time_s = (int)proto_u32_or(GET(m, keepalive_time), (uint32_t)-1);
    *interval_s = (int)proto_u32_or(GET(m, keepalive_interval), (uint32_t)-1);
}

static int read_all(int fd, char *p, size_t n)
{
    size_t at = 0;
    while (at < n) {
        ssize_t got = read(fd, p + at, n - at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : (int)at;
        at += (size_t)got;
    }
    return (int)at;
}

int cfg_read_file(const char *path, struct arena *a, size_t limit_bytes, struct str *out, struct err *err)
{
    struct stat st;
    int rc, fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, errno, "cannot read %s", path);
    size_t limit = limit_bytes ? limit_bytes : FILE_LIMIT_BYTES;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        rc = err_set(err, ERR_IO, "cannot read %s: not a file", path);
    } else if ((size_t)st.st_size > limit) {
        rc = err_set(err, ERR_LIMIT, "%s is larger than %zu bytes", path, limit);
    } else {
        char *p = arena_bytes(a, (size_t)st.st_size + 1);
        int got = p ? read_all(fd, p, (size_t)st.st_size) : -ENOMEM;
        rc = got < 0 ? err_set_errno(err, -got, "cannot read %s", path) : 0;
        if (rc == 0) {
            p[got] = '\0';
            *out = str_make(p, (size_t)got);
        }
    }
    close(fd);
    return rc;
}

int cfg_data_source(struct config_reader *cr, struct arena *a, const pb_data_source *m, size_t limit_bytes, struct str *out)
{
    struct err err = {0};
    const char *field = "inline_string", *name;
    *out = STR("");
    switch (m->specifier_case) {
    case ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_FILENAME:
        if (cfg_read_file(GET(m, filename), a, limit_bytes, out, &err) < 0)
            return cfg_fault_err(cr, "filename", &err);
        return 0;
    case ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_BYTES:
        field = "inline_bytes";
        *out = arena_str(a, PROTO_BYTES(&cr->r, m, inline_bytes));
        break;
    case ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_ENVIRONMENT_VARIABLE:
        field = "environment_variable";
        name = GET(m, environment_variable);
        if (!getenv(name))
            return FAULT(field, "the environment variable %s is not set", name);
        *out = arena_str(a, str_from(getenv(name)));
        break;
    case ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING:
        *out = arena_str(a, TEXT(m, inline_string));
        break;
    default:
        return FAULT("", "one of filename, inline_bytes, inline_string and environment_variable must be set");
    }
    if (limit_bytes && out->n > limit_bytes)
        return FAULT(field, "%zu bytes are more than %zu", out->n, limit_bytes);
    return 0;
}

struct regex *cfg_regex(struct config_reader *cr, const char *field, const pb_regex_matcher *m)
{
    struct err err = {0};
    if (m->engine_type_case)
        proto_read_whole(&cr->r, &GET(m, google_re2)->base); /* RE2's program size: our limits are on matching */
    struct regex *r = regex_new(TEXT(m, regex), &err);
    if (!r)
        IN("%s", field)
            cfg_fault_err(cr, "regex", &err);
    return r;
}

static int read_string_regex(struct config_reader *cr, const char *field, const pb_regex_matcher *m, struct string_match *out)
{
    out->kind = MATCH_REGEX;
    out->regex = cfg_regex(cr, field, m);
    if (!out->regex)
        return ERR_INVALID;
    struct str pattern = TEXT(m, regex);
    out->text = str_dup(pattern);
    return 0;
}

int cfg_string_match(struct config_reader *cr, const pb_string_matcher *m, struct string_match *out)
{
    static const struct { int which; enum string_match_kind kind; } kinds[] = {
        {ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT, MATCH_EXACT},
        {ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_PREFIX, MATCH_PREFIX},
        {ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SUFFIX, MATCH_SUFFIX},
        {ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_CONTAINS, MATCH_CONTAINS},
    };
    bool ignore_case = GET(m, ignore_case);
    *out = (struct string_match){.kind = MATCH_EXACT};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) /* the four share one place in the union */
        if ((int)m->match_pattern_case == kinds[i].which)
            return string_match_init(out, kinds[i].kind, TEXT(m, exact), ignore_case, NULL);
    if (m->match_pattern_case != ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SAFE_REGEX) {
        proto_read_whole(&cr->r, &m->base);
        UNSUPPORTED("custom", NULL);
        return ERR_UNSUPPORTED;
    }
    if (ignore_case)
        return FAULT("ignore_case", "has no effect for safe_regex");
    return read_string_regex(cr, "safe_regex", GET(m, safe_regex), out);
}

#define HEADER_SPECIFIER(x) ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_##x

static int read_header_string(struct config_reader *cr, const pb_header_matcher *m, struct string_match *out)
{
    int rc = 0;
    switch (m->header_match_specifier_case) {
    case HEADER_SPECIFIER(EXACT_MATCH):
        return string_match_init(out, MATCH_EXACT, TEXT(m, exact_match), false, NULL);
    case HEADER_SPECIFIER(PREFIX_MATCH):
        return string_match_init(out, MATCH_PREFIX, TEXT(m, prefix_match), false, NULL);
    case HEADER_SPECIFIER(SUFFIX_MATCH):
        return string_match_init(out, MATCH_SUFFIX, TEXT(m, suffix_match), false, NULL);
    case HEADER_SPECIFIER(CONTAINS_MATCH):
        return string_match_init(out, MATCH_CONTAINS, TEXT(m, contains_match), false, NULL);
    case HEADER_SPECIFIER(SAFE_REGEX_MATCH):
        return read_string_regex(cr, "safe_regex_match", GET(m, safe_regex_match), out);
    default:
        IN("string_match")
            rc = cfg_string_match(cr, GET(m, string_match), out);
        return rc;
    }
}

int cfg_header_matcher(struct config_reader *cr, const pb_header_matcher *m, struct header_matcher *out)
{
    header_matcher_init(out, TEXT(m, name));
    out->invert = GET(m, invert_match);
    out->treat_missing_as_empty = GET(m, treat_missing_header_as_empty);
    switch (m->header_match_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER__NOT_SET:
        return 0; /* present */
    case HEADER_SPECIFIER(PRESENT_MATCH):
        out->present = GET(m, present_match);
        return 0;
    case HEADER_SPECIFIER(RANGE_MATCH): {
        const Envoy__Type__V3__Int64Range *range = GET(m, range_match);
        out->kind = HEADER_MATCH_RANGE;
        out->range_start = GET(range, start);
        out->range_end = GET(range, end);
        return 0;
    }
    default:
        out->kind = HEADER_MATCH_STRING;
        return read_header_string(cr, m, &out->string);
    }
}

struct header_matcher *cfg_header_matchers(struct config_reader *cr, const char *field, pb_header_matcher *const *items, uint32_t n,
                                           struct arena *a)
{
    struct header_matcher *out = ARENA_ARRAY(a, struct header_matcher, n);
    for (uint32_t i = 0; i < n; i++)
        IN("%s[%u]", field, i)
            cfg_header_matcher(cr, items[i], &out[i]);
    return out;
}

/* ---- names of statistics ---- */

const char *cfg_stat_family(const char *base, struct str prefix)
{
    static struct map *names;
    struct strbuf text = {0};
    if (!names)
        names = map_new();
    strbuf_addz(&text, base);
    if (prefix.n)
        strbuf_addf(&text, ".%.*s", STR_ARG(prefix));
    char *known = map_get(names, strbuf_str(&text));
    if (!known) {
        known = mem_strdup(text.p);
        map_set(names, strbuf_str(&text), known);
    }
    strbuf_fini(&text);
    return known;
}
