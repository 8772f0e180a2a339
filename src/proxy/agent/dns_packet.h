/* SPDX-License-Identifier: Apache-2.0
 *
 * DNS messages as the agent's name server needs them (RFC 1035, 6891): queries are read whole, answers of our own written,
 * answers of others checked and passed on. Bytes in, bytes out.
 */
#ifndef PROXY_AGENT_DNS_PACKET_H
#define PROXY_AGENT_DNS_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define DNS_HEADER_BYTES 12
#define DNS_NAME_BYTES 255        /* RFC 1035 section 2.3.4 */
#define DNS_LABEL_BYTES 63
#define DNS_UDP_BYTES 512         /* what a client takes that doesn't say more */
#define DNS_QUERY_MAX_BYTES 4096  /* one question and options: whoever sends more wants our memory */
#define DNS_MESSAGE_MAX_BYTES 65535

enum { DNS_TYPE_A = 1, DNS_TYPE_CNAME = 5, DNS_TYPE_SOA = 6, DNS_TYPE_AAAA = 28, DNS_TYPE_OPT = 41 };
enum { DNS_CLASS_IN = 1 };
enum dns_rcode { DNS_RCODE_OK, DNS_RCODE_FORMAT, DNS_RCODE_FAILURE, DNS_RCODE_NO_NAME, DNS_RCODE_NOT_DONE, DNS_RCODE_REFUSED,
                 DNS_RCODE_VERSION = 16 };
enum { DNS_FLAG_ANSWER = 0x8000, DNS_FLAG_AUTHORITY = 0x0400, DNS_FLAG_CUT = 0x0200, DNS_FLAG_RECURSE = 0x0100,
       DNS_FLAG_RECURSES = 0x0080, DNS_FLAG_UNCHECKED = 0x0010, DNS_FLAGS_OPCODE = 0x7800, DNS_FLAGS_RCODE = 0x000f };

/* Labels with their lengths, the root's 0 at the end: no two names have the same bytes, whatever they hold. */
struct dns_name {
    uint8_t n;                    /* 0: none */
    uint8_t bytes[DNS_NAME_BYTES];
};
static inline struct str dns_name_str(const struct dns_name *n)
{
    return str_make((const char *)n->bytes, n->n);
}
/* "a.b" or "a.b.", in lower case from then on. False: a label or the whole is empty or too long. */
bool dns_name_from_text(struct str text, struct dns_name *out);
/* "a.b." with bytes that aren't letters, digits, '-', '_' or '*' as \ddd. */
void dns_name_text(struct str name, struct strbuf *out);

struct dns_packet_query {
    uint16_t id, flags;
    uint16_t type, class;
    struct dns_name asked;        /* as it came: the answer repeats it */
    struct dns_name name;         /* in lower case */
    bool has_edns;
    bool has_options;             /* EDNS options, which an answer may depend on */
    bool wants_dnssec;
    uint16_t udp_bytes;           /* the longest answer over UDP */
};
enum dns_packet_kind {
    DNS_PACKET_QUERY,
    DNS_PACKET_REFUSED,           /* to be answered with *rcode: `out` holds what could be read */
    DNS_PACKET_JUNK,              /* not to be answered: no header, or an answer itself */
};
enum dns_packet_kind dns_packet_read_query(struct str packet, struct dns_packet_query *out, enum dns_rcode *rcode);

/* An answer of our own. */
struct dns_packet_answer {
    enum dns_rcode rcode;
    bool is_authority;
    uint32_t ttl_s;
    struct str alias;             /* wire form: the addresses are that name's; null: of the name asked for */
    const uint8_t *addresses;     /* `count` of them, of the type asked for */
    uint32_t count, first;        /* the order begins at `first` */
};
/* `limit` is at least DNS_UDP_BYTES. Records that don't fit are left out, and the answer says so. Returns its length. */
size_t dns_packet_write(const struct dns_packet_query *q, const struct dns_packet_answer *a, uint8_t *out, size_t limit);

uint16_t dns_packet_id(struct str packet); /* of at least two bytes */
void dns_packet_set_id(uint8_t *packet, uint16_t id);
uint16_t dns_packet_flags(struct str packet); /* of a whole header */
/* An answer with one question, the one of `q`? The id isn't looked at. */
bool dns_packet_answers(struct str packet, const struct dns_packet_query *q);
/* `answer` (dns_packet_answers) for who asked `q`, as it is but for id and spelling of the name; only its head where it is
 * longer than `limit`. `out` has room for DNS_MESSAGE_MAX_BYTES. */
size_t dns_packet_relay(const struct dns_packet_query *q, struct str answer, uint8_t *out, size_t limit);

/* Walks the records of a message; names within are skipped, never followed. */
enum dns_section { DNS_ANSWER, DNS_AUTHORITY, DNS_ADDITIONAL, DNS_SECTION_COUNT };
struct dns_records {
    const uint8_t *begin, *at, *end;
    uint16_t left[DNS_SECTION_COUNT];
    bool is_broken;               /* what follows can't be read */
};
struct dns_record {
    enum dns_section section;
    uint16_t type, class;
    uint32_t ttl_s;
    size_t ttl_at;                /* offset of the TTL's four bytes */
    struct str data;
};
struct dns_records dns_records_of(struct str packet);
bool dns_records_next(struct dns_records *r, struct dns_record *out);

#endif
