/* SPDX-License-Identifier: Apache-2.0
 *
 * Packets between weftd and its signer, from either end gone mad: what is read as a packet is written the same again.
 */
#include "base/check.h"
#include "control/ca/signer_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(struct str packet, const struct strbuf *again)
{
    CHECK(str_eq(packet, strbuf_str(again)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str packet = str_make((const char *)data, size);
    struct signer_request q;
    struct signer_response r;
    struct strbuf again = {0};
    struct arena a;
    arena_init(&a, 0);
    if (size > SIGNER_PACKET_MAX_BYTES)
        return 0;
    if (signer_request_read(&a, packet, &q, NULL) == 0) {
        CHECK(signer_request_write(&q, &again, NULL) == 0);
        check_same(packet, &again);
    }
    if (signer_response_read(packet, &r, NULL) == 0) {
        CHECK(signer_response_write(&r, &again, NULL) == 0);
        check_same(packet, &again);
    }
    strbuf_fini(&again);
    arena_fini(&a);
    return 0;
}
