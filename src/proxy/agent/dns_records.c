/* SPDX-License-Identifier: Apache-2.0
 *
 * The walk over a message's records. A name ends at its root or at its first pointer, wherever that leads. Pure.
 */
#include "base/cursor.h"
#include "proxy/agent/dns_packet.h"

static void skip_name(struct cursor *c)
{
    for (unsigned n = 1; n && !c->failed;) {
        n = cursor_u8(c);
        if (n >= 0xc0) {
            cursor_skip(c, 1);
            return;
        }
        if (n > DNS_LABEL_BYTES)
            c->failed = true;
        cursor_skip(c, n);
    }
}

struct dns_records dns_records_of(struct str packet)
{
    struct dns_records r = {.begin = (const uint8_t *)packet.p};
    struct cursor c = cursor_make(packet.p, packet.n);
    cursor_skip(&c, 4);
    unsigned questions = cursor_u16(&c);
    for (int i = 0; i < DNS_SECTION_COUNT; i++)
        r.left[i] = cursor_u16(&c);
    for (unsigned i = 0; i < questions && !c.failed; i++) {
        skip_name(&c);
        cursor_skip(&c, 4);
    }
    r.at = c.p;
    r.end = c.end;
    r.is_broken = c.failed;
    return r;
}

bool dns_records_next(struct dns_records *r, struct dns_record *out)
{
    enum dns_section section = DNS_ANSWER;
    while (section < DNS_SECTION_COUNT && r->left[section] == 0)
        section++;
    if (r->is_broken || section == DNS_SECTION_COUNT)
        return false;
    struct cursor c = cursor_make(r->at, (size_t)(r->end - r->at));
    r->left[section]--;
    skip_name(&c);
    out->section = section;
    out->type = cursor_u16(&c);
    out->class = cursor_u16(&c);
    out->ttl_at = (size_t)(c.p - r->begin);
    out->ttl_s = cursor_u32(&c);
    out->data = cursor_bytes(&c, cursor_u16(&c));
    r->is_broken = c.failed;
    r->at = c.p;
    return !c.failed;
}
