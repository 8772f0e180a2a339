/* SPDX-License-Identifier: Apache-2.0
 *
 * DNS messages as queries and as answers of an upstream. Whatever is read can be answered within the limit, the answer has the
 * question; what was put into the cache comes out as long as it went in, with the same records.
 */
#include "base/check.h"
#include "proxy/agent/answer_cache.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t out[DNS_MESSAGE_MAX_BYTES];
static const uint8_t addresses[16 * 100];

static unsigned count_records(struct str packet)
{
    unsigned n = 0;
    struct dns_records walk = dns_records_of(packet);
    for (struct dns_record r; dns_records_next(&walk, &r); n++)
        CHECK(r.ttl_at + 4 <= packet.n && r.data.p + r.data.n <= packet.p + packet.n);
    return n;
}

static void answer_it(const struct dns_packet_query *q, enum dns_rcode rcode, struct str alias)
{
    struct dns_packet_answer a = {.rcode = rcode, .ttl_s = 30, .addresses = addresses, .count = rcode ? 0 : 100, .first = 7};
    for (int with_alias = 0; with_alias < 2; with_alias++) {
        a.alias = with_alias && !rcode ? alias : STR_NULL;
        size_t n = dns_packet_write(q, &a, out, q->udp_bytes);
        CHECK(n >= DNS_HEADER_BYTES && n <= q->udp_bytes && dns_packet_id(str_make((char *)out, n)) == q->id);
        if (q->asked.n && !(q->flags & DNS_FLAGS_OPCODE))
            CHECK(dns_packet_answers(str_make((char *)out, n), q));
        struct dns_records walk = dns_records_of(str_make((char *)out, n));
        for (struct dns_record r; dns_records_next(&walk, &r);)
            ;
        CHECK(!walk.is_broken && walk.at == walk.end);
    }
}

static void pass_on(const struct dns_packet_query *q, struct str answer)
{
    struct answer_cache *c = answer_cache_new(4, 1 << 16);
    CHECK(dns_packet_relay(q, answer, out, DNS_UDP_BYTES) <= DNS_UDP_BYTES);
    CHECK(dns_packet_relay(q, answer, out, DNS_MESSAGE_MAX_BYTES) == answer.n);
    answer_cache_put(c, q, answer, 1000000);
    for (uint64_t now_us = 1000000; now_us < 4000000000; now_us *= 3) {
        struct str kept = answer_cache_get(c, q, now_us);
        CHECK(!kept.n || (kept.n == answer.n && count_records(kept) == count_records(answer)));
    }
    answer_cache_free(&c);
}

/* The question that an answer is to. */
static bool as_query(struct str packet, struct dns_packet_query *q)
{
    enum dns_rcode rcode;
    char head[DNS_HEADER_BYTES + DNS_NAME_BYTES + 4] = {0};
    size_t n = packet.n < sizeof head ? packet.n : sizeof head;
    if (n < DNS_HEADER_BYTES)
        return false;
    memcpy(head, packet.p, n);
    memset(head + 2, 0, 10);
    head[5] = 1;
    for (; n > DNS_HEADER_BYTES; n--)
        if (dns_packet_read_query(str_make(head, n), q, &rcode) == DNS_PACKET_QUERY)
            return dns_packet_answers(packet, q);
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str packet = str_make((const char *)data, size);
    struct dns_packet_query q;
    enum dns_rcode rcode;
    if (size > DNS_MESSAGE_MAX_BYTES)
        return 0;
    if (dns_packet_read_query(packet, &q, &rcode) != DNS_PACKET_JUNK)
        answer_it(&q, rcode, q.asked.n ? dns_name_str(&q.name) : STR_NULL);
    if (q.asked.n) {
        struct strbuf text = {0};
        dns_name_text(dns_name_str(&q.name), &text);
        strbuf_fini(&text);
    }
    count_records(packet);
    if (as_query(packet, &q))
        pass_on(&q, packet);
    return 0;
}
