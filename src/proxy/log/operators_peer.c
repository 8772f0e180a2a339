/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators about the two ends of a connection: addresses, names, certificates.
 */
#include "proxy/log/operators_peer.h"

#include <time.h>

#include "base/check.h"
#include "base/mem.h"
#include "io/tls.h"
#include "proxy/cluster/host.h"
#include "proxy/log/format_priv.h"

static const struct {
    const char *name;
    int variant;
} rows[] = {
#define X(name, end, fact) {name, (end) << 8 | (fact)},
    ADDRESS_OPERATORS(X) TLS_OPERATORS(X)
#undef X
};

int peer_operator_index(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eq(name, str_from(rows[i].name)))
            return rows[i].variant;
    return -1;
}

/* An argument is a time format, and only validity dates take one. */
int check_peer_argument(struct format_piece *p, struct err *err)
{
    p->variant = peer_operator_index(str_from(p->op->name));
    int fact = p->variant & 255;
    if (!p->text.n)
        return 0;
    if (fact != FACT_NOT_BEFORE && fact != FACT_NOT_AFTER)
        return err_set(err, ERR_INVALID, "%%%s%% takes no argument", p->op->name);
    p->extra = time_format_new(p->text, err);
    return p->extra ? 0 : ERR_INVALID;
}

/* ---- addresses ---- */

static const struct addr *address_of(const struct stream_info *i, int end)
{
    switch (end) {
    case END_DOWN_REMOTE:
        return i->downstream_remote;
    case END_DOWN_DIRECT:
        return i->downstream_direct_remote;
    case END_DOWN_LOCAL:
        return i->downstream_local;
    case END_UP_REMOTE:
        return i->has_upstream_addrs ? &i->upstream_remote : NULL;
    case END_UP_LOCAL:
        return i->has_upstream_addrs ? &i->upstream_local : NULL;
    case END_UP_HOST:
        return i->host ? &i->host->addr : NULL;
    default:
        return NULL;
    }
}

static void add_host_name(const struct host *h, bool with_port, struct strbuf *out)
{
    char text[ADDR_TEXT_BYTES];
    if (!h->hostname.n) {
        strbuf_addz(out, with_port ? addr_text(&h->addr, text) : addr_ip_text(&h->addr, text));
        return;
    }
    strbuf_adds(out, h->hostname);
    if (with_port && addr_port(&h->addr) && !memchr(h->hostname.p, ':', h->hostname.n)) { /* dynamic forward proxies' names have theirs */
        strbuf_addc(out, ':');
        strbuf_addu(out, addr_port(&h->addr));
    }
}

bool op_address(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    int fact = p->variant & 255;
    const struct addr *a = address_of(cx->info, p->variant >> 8);
    char text[ADDR_TEXT_BYTES];
    if (!a)
        return false;
    switch (fact) {
    case ADDRESS_WHOLE:
        strbuf_addz(out, addr_text(a, text));
        return true;
    case ADDRESS_IP:
        strbuf_addz(out, addr_ip_text(a, text));
        return true;
    case ADDRESS_PORT:
        if (!addr_is_ip(a))
            return false;
        strbuf_addu(out, addr_port(a));
        return true;
    default:
        add_host_name(cx->info->host, fact == ADDRESS_NAME, out);
        return true;
    }
}

/* ---- TLS ---- */

static struct tls_session *session_of(const struct format_context *cx, int end)
{
    if (end >= TLS_UP_PEER)
        return (struct tls_session *)(uintptr_t)cx->info->upstream_tls;
    return cx->info->downstream ? conn_tls(cx->info->downstream) : NULL;
}

static bool add_str(struct str s, struct strbuf *out)
{
    if (!s.n)
        return false;
    strbuf_adds(out, s);
    return true;
}

static bool add_list(const struct str *list, struct strbuf *out)
{
    if (!list || !list->p)
        return false;
    for (const struct str *s = list; s->p; s++) {
        if (s != list)
            strbuf_addc(out, ',');
        strbuf_adds(out, *s);
    }
    return true;
}

static bool add_date(const struct format_piece *p, int64_t unix_s, struct strbuf *out)
{
    if (p->extra) {
        time_format_run(p->extra, (uint64_t)unix_s * 1000000, false, out);
        return true;
    }
    char text[40];
    struct tm tm;
    time_t at = (time_t)unix_s;
    if (!gmtime_r(&at, &tm))
        return false;
    strbuf_add(out, text, strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S.000Z", &tm));
    return true;
}

static bool add_cert_fact(const struct format_piece *p, const struct tls_cert_facts *f, struct strbuf *out)
{
    switch (p->variant & 255) {
    case FACT_SUBJECT:
        return add_str(f->subject, out);
    case FACT_ISSUER:
        return add_str(f->issuer, out);
    case FACT_SERIAL:
        return add_str(f->serial_hex, out);
    case FACT_SHA256:
        return add_str(f->sha256_hex, out);
    case FACT_SHA1:
        return add_str(f->sha1_hex, out);
    case FACT_CERT:
        return add_str(f->pem_url_encoded, out);
    case FACT_URI_SAN:
        return add_list(f->uri_sans, out);
    case FACT_DNS_SAN:
        return add_list(f->dns_sans, out);
    case FACT_IP_SAN:
        return add_list(f->ip_sans, out);
    case FACT_EMAIL_SAN:
        return add_list(f->email_sans, out);
    case FACT_NOT_BEFORE:
        return add_date(p, f->not_before_s, out);
    case FACT_NOT_AFTER:
        return add_date(p, f->not_after_s, out);
    default:
        return false;
    }
}

bool op_tls(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    int end = p->variant >> 8, fact = p->variant & 255;
    struct tls_session *s = session_of(cx, end);
    if (!s)
        return false;
    if (fact == FACT_VERSION)
        return add_str(str_from(tls_session_version(s)), out);
    if (fact == FACT_CIPHER)
        return add_str(str_from(tls_session_cipher(s)), out);
    if (fact == FACT_SESSION_ID)
        return add_str(tls_session_id_hex(s), out);
    bool peer = end == TLS_DOWN_PEER || end == TLS_UP_PEER;
    const struct tls_cert_facts *f = peer ? tls_session_peer(s) : tls_session_local(s);
    return f && add_cert_fact(p, f, out);
}
