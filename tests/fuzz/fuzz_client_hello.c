/* SPDX-License-Identifier: Apache-2.0
 *
 * Whatever the bytes, the ClientHello parser ends, stays inside them, and says the same of a longer
 * input once it has said YES, NOT_TLS or BAD of a prefix.
 */
#include "io/tls.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(struct str s, const uint8_t *data, size_t size, const struct tls_hello *h)
{
    const char *p = (const char *)data;
    return s.n == 0 || (s.p >= p && s.p + s.n <= p + size) ||
           (s.p >= h->joined && s.p + s.n <= h->joined + h->joined_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tls_hello whole, part;
    enum tls_hello_result r = tls_hello_parse(data, size, &whole);
    if (!inside(whole.sni, data, size, &whole))
        abort();
    for (size_t i = 0; i < whole.alpn_count; i++) {
        if (!inside(whole.alpn[i], data, size, &whole))
            abort();
    }
    enum tls_hello_result half = tls_hello_parse(data, size / 2, &part);
    if (size < TLS_HELLO_MAX_BYTES && half != TLS_HELLO_MORE && half != r)
        abort();
    return 0;
}
