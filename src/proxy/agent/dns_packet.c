/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading and writing of messages. A query has one question whose name stands in full (nothing precedes it that a pointer
 * could mean), no records but additional ones, and nothing behind them; anything else is refused, so that what is passed on
 * means the same to everybody. Pure.
 */
#include "proxy/agent/dns_packet.h"

#include "base/check.h"
#include "base/cursor.h"

#define ADDITIONAL_MAX 4          /* OPT, a signature, and room */
#define OPT_BYTES 11
#define POINTER_TO_QUESTION (0xc000 | DNS_HEADER_BYTES)
#define EDNS_DNSSEC 0x8000

/* ---- names ---- */

bool dns_name_from_text(struct str text, struct dns_name *out)
{
    size_t at = 0;
    out->n = 0;
    if (text.n && text.p[text.n - 1] == '.')
        text.n--;
    if (text.n == 0 || text.n > DNS_NAME_BYTES - 2)
        return false;
    for (struct str label, rest = text; rest.p; at += 1 + label.n) {
        label = str_split(rest, '.', &rest);
        if (label.n == 0 || label.n > DNS_LABEL_BYTES)
            return false;
        out->bytes[at] = (uint8_t)label.n;
        for (size_t i = 0; i < label.n; i++)
            out->bytes[at + 1 + i] = (uint8_t)ascii_lower(label.p[i]);
    }
    out->bytes[at++] = 0;
    out->n = (uint8_t)at;
    return true;
}

static bool is_plain(char c)
{
    return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || c == '-' || c == '_' || c == '*';
}

void dns_name_text(struct str name, struct strbuf *out)
{
    if (name.n == 1)
        strbuf_addc(out, '.');
    for (size_t at = 0; at < name.n && name.p[at];) {
        size_t n = (uint8_t)name.p[at++];
        for (; n > 0 && at < name.n; n--, at++)
            if (is_plain(name.p[at]))
                strbuf_addc(out, name.p[at]);
            else
                strbuf_addf(out, "\\%03u", (unsigned)(uint8_t)name.p[at]);
        strbuf_addc(out, '.');
    }
}

/* A name without pointers, in both spellings. */
static bool read_name(struct cursor *c, struct dns_packet_query *q)
{
    struct dns_name *out = &q->asked;
    for (unsigned n = 1; n;) {
        n = cursor_u8(c);
        struct str label = cursor_bytes(c, n);
        if (c->failed || n > DNS_LABEL_BYTES || out->n + 1u + n > DNS_NAME_BYTES - (n ? 1u : 0u))
            return false;
        out->bytes[out->n] = q->name.bytes[out->n] = (uint8_t)n;
        for (unsigned i = 1; i <= n; i++) {
            out->bytes[out->n + i] = (uint8_t)label.p[i - 1];
            q->name.bytes[out->n + i] = (uint8_t)ascii_lower(label.p[i - 1]);
        }
        out->n = (uint8_t)(out->n + 1 + n);
    }
    q->name.n = out->n;
    return true;
}

/* ---- queries ---- */

/* False: a second one, or not the root's. */
static bool read_opt(struct dns_packet_query *q, bool is_root, uint16_t size, uint32_t ttl, struct str data, enum dns_rcode *rcode)
{
    if (q->has_edns || !is_root)
        return false;
    q->has_edns = true;
    q->has_options = data.n > 0;
    q->wants_dnssec = ttl & EDNS_DNSSEC;
    q->udp_bytes = size < DNS_UDP_BYTES ? DNS_UDP_BYTES : size;
    if (ttl >> 16 & 0xff)
        *rcode = DNS_RCODE_VERSION;
    return true;
}

static bool read_additional(struct cursor *c, struct dns_packet_query *q, enum dns_rcode *rcode)
{
    const uint8_t *begin = c->p;
    unsigned n;
    while ((n = cursor_u8(c)) != 0) { /* none of these has a name to speak of; a pointer ends it */
        cursor_skip(c, n >= 0xc0 ? 1 : n);
        if (c->failed || n >= 0xc0)
            break;
    }
    bool is_root = c->p == begin + 1;
    uint16_t type = cursor_u16(c), class = cursor_u16(c);
    uint32_t ttl = cursor_u32(c);
    struct str data = cursor_bytes(c, cursor_u16(c));
    if (c->failed)
        return false;
    return type != DNS_TYPE_OPT || read_opt(q, is_root, class, ttl, data, rcode);
}

static bool read_body(struct cursor *c, struct dns_packet_query *q, unsigned additional, enum dns_rcode *rcode)
{
    if (!read_name(c, q)) {
        q->asked.n = 0;
        return false;
    }
    q->type = cursor_u16(c);
    q->class = cursor_u16(c);
    if (c->failed)
        q->asked.n = 0;
    for (unsigned i = 0; i < additional && !c->failed; i++)
        if (!read_additional(c, q, rcode))
            return false;
    return !c->failed && cursor_left(c) == 0;
}

enum dns_packet_kind dns_packet_read_query(struct str packet, struct dns_packet_query *q, enum dns_rcode *rcode)
{
    struct cursor c = cursor_make(packet.p, packet.n);
    *q = (struct dns_packet_query){.udp_bytes = DNS_UDP_BYTES};
    *rcode = DNS_RCODE_FORMAT;
    q->id = cursor_u16(&c);
    q->flags = cursor_u16(&c);
    unsigned questions = cursor_u16(&c), answers = cursor_u16(&c), authorities = cursor_u16(&c), additional = cursor_u16(&c);
    if (c.failed || q->flags & DNS_FLAG_ANSWER)
        return DNS_PACKET_JUNK;
    if (q->flags & DNS_FLAGS_OPCODE) {
        *rcode = DNS_RCODE_NOT_DONE;
        return DNS_PACKET_REFUSED;
    }
    if (questions != 1 || answers || authorities || additional > ADDITIONAL_MAX || packet.n > DNS_QUERY_MAX_BYTES)
        return DNS_PACKET_REFUSED;
    enum dns_rcode found = DNS_RCODE_OK;
    if (!read_body(&c, q, additional, &found))
        return DNS_PACKET_REFUSED;
    *rcode = found;
    return found == DNS_RCODE_OK ? DNS_PACKET_QUERY : DNS_PACKET_REFUSED;
}

/* ---- answers of our own ---- */

static void put_head(struct wcursor *w, const struct dns_packet_query *q, unsigned flags, enum dns_rcode rcode, unsigned answers)
{
    unsigned kept = q->flags & (DNS_FLAGS_OPCODE | DNS_FLAG_RECURSE | DNS_FLAG_UNCHECKED);
    wcursor_u16(w, q->id);
    wcursor_u16(w, (uint16_t)(DNS_FLAG_ANSWER | DNS_FLAG_RECURSES | kept | flags | ((unsigned)rcode & DNS_FLAGS_RCODE)));
    wcursor_u16(w, q->asked.n ? 1 : 0);
    wcursor_u16(w, (uint16_t)answers);
    wcursor_u16(w, 0);
    wcursor_u16(w, q->has_edns ? 1 : 0);
    if (q->asked.n) {
        wcursor_bytes(w, q->asked.bytes, q->asked.n);
        wcursor_u16(w, q->type);
        wcursor_u16(w, q->class);
    }
}

static void put_opt(struct wcursor *w, const struct dns_packet_query *q, enum dns_rcode rcode)
{
    if (!q->has_edns)
        return;
    wcursor_u8(w, 0);
    wcursor_u16(w, DNS_TYPE_OPT);
    wcursor_u16(w, DNS_QUERY_MAX_BYTES);
    wcursor_u32(w, (uint32_t)rcode >> 4 << 24 | (q->wants_dnssec ? EDNS_DNSSEC : 0));
    wcursor_u16(w, 0);
}

/* One record, or nothing of it where it doesn't fit. */
static bool put_record(struct wcursor *w, unsigned owner, uint16_t type, uint32_t ttl_s, const void *data, size_t n)
{
    struct wcursor was = *w;
    wcursor_u16(w, (uint16_t)owner);
    wcursor_u16(w, type);
    wcursor_u16(w, DNS_CLASS_IN);
    wcursor_u32(w, ttl_s);
    wcursor_u16(w, (uint16_t)n);
    wcursor_bytes(w, data, n);
    if (!w->failed)
        return true;
    *w = was;
    return false;
}

size_t dns_packet_write(const struct dns_packet_query *q, const struct dns_packet_answer *a, uint8_t *out, size_t limit)
{
    DCHECK(limit >= DNS_UDP_BYTES);
    size_t bytes = q->type == DNS_TYPE_AAAA ? 16 : 4;
    struct wcursor w = {.p = out, .end = out + limit - (q->has_edns ? OPT_BYTES : 0)};
    unsigned flags = a->is_authority ? DNS_FLAG_AUTHORITY : 0, count = 0, owner = POINTER_TO_QUESTION;
    bool fits = true;
    put_head(&w, q, flags, a->rcode, 0);
    if (a->alias.n) {
        unsigned target = (unsigned)(w.p - out) + 12; /* of the record's data */
        fits = put_record(&w, owner, DNS_TYPE_CNAME, a->ttl_s, a->alias.p, a->alias.n);
        owner = 0xc000 | target;
        count += fits;
    }
    for (uint32_t i = 0; i < a->count && fits; i++) {
        uint32_t which = (uint32_t)(((uint64_t)a->first + i) % a->count);
        fits = put_record(&w, owner, q->type, a->ttl_s, a->addresses + which * bytes, bytes);
        count += fits;
    }
    w.end = out + limit;
    put_opt(&w, q, a->rcode);
    struct wcursor head = {.p = out, .end = w.p};
    put_head(&head, q, flags | (fits ? 0 : DNS_FLAG_CUT), a->rcode, count);
    CHECK(!w.failed);
    return (size_t)(w.p - out);
}

/* ---- answers of others ---- */

uint16_t dns_packet_id(struct str packet)
{
    return (uint16_t)((uint8_t)packet.p[0] << 8 | (uint8_t)packet.p[1]);
}

void dns_packet_set_id(uint8_t *packet, uint16_t id)
{
    packet[0] = (uint8_t)(id >> 8);
    packet[1] = (uint8_t)id;
}

uint16_t dns_packet_flags(struct str packet)
{
    return (uint16_t)((uint8_t)packet.p[2] << 8 | (uint8_t)packet.p[3]);
}

bool dns_packet_answers(struct str packet, const struct dns_packet_query *q)
{
    struct cursor c = cursor_make(packet.p, packet.n);
    cursor_skip(&c, 2);
    uint16_t flags = cursor_u16(&c);
    uint16_t questions = cursor_u16(&c);
    cursor_skip(&c, 6);
    struct str name = cursor_bytes(&c, q->asked.n); /* lengths of labels are below 'A': no case is folded there */
    uint16_t type = cursor_u16(&c), class = cursor_u16(&c);
    return !c.failed && flags & DNS_FLAG_ANSWER && !(flags & DNS_FLAGS_OPCODE) && questions == 1 &&
           str_eq_nocase(name, dns_name_str(&q->asked)) && type == q->type && class == q->class;
}

size_t dns_packet_relay(const struct dns_packet_query *q, struct str answer, uint8_t *out, size_t limit)
{
    if (answer.n > limit) {
        unsigned rcode = dns_packet_flags(answer) & DNS_FLAGS_RCODE;
        struct wcursor w = {.p = out, .end = out + limit};
        put_head(&w, q, DNS_FLAG_CUT, rcode, 0);
        put_opt(&w, q, rcode);
        CHECK(!w.failed);
        return (size_t)(w.p - out);
    }
    memcpy(out, answer.p, answer.n);
    dns_packet_set_id(out, q->id);
    memcpy(out + DNS_HEADER_BYTES, q->asked.bytes, q->asked.n);
    return answer.n;
}
