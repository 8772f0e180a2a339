/* SPDX-License-Identifier: Apache-2.0
 *
 * PROXY protocol headers from anybody: whatever the bytes, the parser stays within them, and
 * cutting them short never turns a refusal into an acceptance.
 */
#include "base/check.h"
#include "proxy/listener/listener_filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void let_go(struct proxy_header *h)
{
    addr_fini(&h->source);
    addr_fini(&h->destination);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header h, part;
    uint8_t type;
    struct str value;
    enum proxy_header_result whole = proxy_header_parse(data, size, &h);
    if (whole == PROXY_HEADER_YES) {
        CHECK(h.bytes <= size && h.bytes > 0);
        for (struct str at = h.tlvs; proxy_tlv_next(&at, &type, &value);)
            CHECK(value.p + value.n <= (const char *)data + h.bytes);
        for (size_t cut = 0; cut < h.bytes; cut++)
            CHECK(proxy_header_parse(data, cut, &part) == PROXY_HEADER_MORE);
    }
    if (whole == PROXY_HEADER_NONE && size)
        CHECK(proxy_header_parse(data, size - 1, &part) == PROXY_HEADER_NONE || size == 1 ||
              part.version == 0);
    let_go(&h);
    return 0;
}
