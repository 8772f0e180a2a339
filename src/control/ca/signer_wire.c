/* SPDX-License-Identifier: Apache-2.0
 *
 * Packets <-> structs. A packet that is longer than what it says is refused like one that is shorter. Any thread.
 */
#include "control/ca/signer_wire.h"

#include "base/cursor.h"
#include "pki/issue.h"

/* ---- writing ---- */

static void put_text(struct wcursor *c, struct str s)
{
    wcursor_u32(c, (uint32_t)s.n);
    wcursor_bytes(c, s.p, s.n);
}

static struct wcursor begin(struct strbuf *out)
{
    strbuf_reset(out);
    strbuf_reserve(out, SIGNER_PACKET_MAX_BYTES);
    return (struct wcursor){(uint8_t *)out->p, (uint8_t *)out->p + SIGNER_PACKET_MAX_BYTES, false};
}

static int finish(const struct wcursor *c, struct strbuf *out, struct err *err)
{
    if (c->failed)
        return err_set(err, ERR_LIMIT, "a packet to or from the signer has at most %zu bytes", SIGNER_PACKET_MAX_BYTES);
    out->n = (size_t)((char *)c->p - out->p);
    out->p[out->n] = '\0';
    return 0;
}

static void put_open(struct wcursor *c, const struct signer_open *o)
{
    put_text(c, o->authority.trust_domain);
    wcursor_u8(c, (uint8_t)o->authority.key_kind);
    wcursor_u64(c, (uint64_t)o->authority.root_ttl_s);
    wcursor_u64(c, (uint64_t)o->authority.announce_s);
    wcursor_u64(c, (uint64_t)o->authority.max_ttl_s);
    wcursor_u8(c, (uint8_t)o->authority.renew_pct);
    put_text(c, o->path);
    wcursor_u8(c, o->is_plugged_in);
}

static void put_sign(struct wcursor *c, const struct authority_request *q)
{
    wcursor_u64(c, (uint64_t)q->ttl_s);
    put_text(c, q->uri);
    wcursor_u32(c, q->host_count);
    for (uint32_t i = 0; i < q->host_count; i++)
        put_text(c, q->hosts[i]);
    put_text(c, q->csr_pem);
}

int signer_request_write(const struct signer_request *r, struct strbuf *out, struct err *err)
{
    struct wcursor c = begin(out);
    wcursor_u8(&c, (uint8_t)r->kind);
    wcursor_u32(&c, r->id);
    if (r->kind == SIGNER_OPEN)
        put_open(&c, &r->open);
    if (r->kind == SIGNER_SIGN)
        put_sign(&c, &r->sign);
    return finish(&c, out, err);
}

static void put_trust(struct wcursor *c, const struct ca_trust *t)
{
    put_text(c, t->bundle);
    put_text(c, t->chain);
    wcursor_u64(c, (uint64_t)t->root_until_s);
    wcursor_u64(c, (uint64_t)t->signs_until_s);
    wcursor_u64(c, (uint64_t)t->change_at_s);
    wcursor_u8(c, t->is_rotating);
}

int signer_response_write(const struct signer_response *r, struct strbuf *out, struct err *err)
{
    struct wcursor c = begin(out);
    wcursor_u8(&c, (uint8_t)r->kind);
    wcursor_u32(&c, r->id);
    wcursor_u8(&c, (uint8_t)-r->code);
    put_text(&c, r->message);
    wcursor_u8(&c, r->has_trust);
    if (r->has_trust)
        put_trust(&c, &r->trust);
    put_text(&c, r->leaf);
    put_text(&c, r->serial_hex);
    wcursor_u64(&c, (uint64_t)r->leaf_until_s);
    return finish(&c, out, err);
}

/* ---- reading ---- */

static struct str text(struct cursor *c)
{
    uint32_t n = cursor_u32(c);
    return cursor_bytes(c, n);
}

static bool flag(struct cursor *c)
{
    uint8_t v = cursor_u8(c);
    c->failed |= v > 1;
    return v == 1;
}

static int64_t seconds(struct cursor *c)
{
    uint64_t v = cursor_u64(c);
    c->failed |= v > INT64_MAX / 4; /* sums of them stay numbers */
    return c->failed ? 0 : (int64_t)v;
}

static enum signer_kind kind(struct cursor *c)
{
    uint8_t v = cursor_u8(c);
    c->failed |= v < SIGNER_OPEN || v > SIGNER_KIND_LAST;
    return (enum signer_kind)v;
}

static void read_open(struct cursor *c, struct signer_open *o)
{
    o->authority.trust_domain = text(c);
    uint8_t key_kind = cursor_u8(c);
    c->failed |= key_kind > KEY_RSA_4096;
    o->authority.key_kind = (enum key_kind)key_kind;
    o->authority.root_ttl_s = seconds(c);
    o->authority.announce_s = seconds(c);
    o->authority.max_ttl_s = seconds(c);
    o->authority.renew_pct = cursor_u8(c);
    c->failed |= o->authority.renew_pct > 100;
    o->path = text(c);
    o->is_plugged_in = flag(c);
}

static void read_sign(struct arena *a, struct cursor *c, struct authority_request *q)
{
    q->ttl_s = seconds(c);
    q->uri = text(c);
    q->host_count = cursor_u32(c);
    c->failed |= q->host_count > ISSUE_NAMES_MAX;
    struct str *hosts = c->failed || !q->host_count ? NULL : arena_alloc(a, q->host_count * sizeof *hosts);
    c->failed |= q->host_count && !hosts;
    for (uint32_t i = 0; !c->failed && i < q->host_count; i++)
        hosts[i] = text(c);
    q->hosts = hosts;
    q->csr_pem = text(c);
}

static int end(const struct cursor *c, struct err *err)
{
    return c->failed || cursor_left(c) ? err_set(err, ERR_SYNTAX, "not a packet as weftd and its signer write it") : 0;
}

int signer_request_read(struct arena *a, struct str packet, struct signer_request *out, struct err *err)
{
    struct cursor c = cursor_make(packet.p, packet.n);
    *out = (struct signer_request){.kind = kind(&c)};
    out->id = cursor_u32(&c);
    if (out->kind == SIGNER_OPEN)
        read_open(&c, &out->open);
    if (out->kind == SIGNER_SIGN)
        read_sign(a, &c, &out->sign);
    return end(&c, err);
}

static void read_trust(struct cursor *c, struct ca_trust *t)
{
    t->bundle = text(c);
    t->chain = text(c);
    t->root_until_s = seconds(c);
    t->signs_until_s = seconds(c);
    t->change_at_s = seconds(c);
    t->is_rotating = flag(c);
}

int signer_response_read(struct str packet, struct signer_response *out, struct err *err)
{
    struct cursor c = cursor_make(packet.p, packet.n);
    *out = (struct signer_response){.kind = kind(&c)};
    out->id = cursor_u32(&c);
    out->code = -cursor_u8(&c);
    out->message = text(&c);
    out->has_trust = flag(&c);
    if (out->has_trust)
        read_trust(&c, &out->trust);
    out->leaf = text(&c);
    out->serial_hex = text(&c);
    out->leaf_until_s = seconds(&c);
    return end(&c, err);
}
