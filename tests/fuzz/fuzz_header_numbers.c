/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers that clients write into headers: grpc-timeout, milliseconds of x-envoy-*, q-values of
 * accept-encoding. A timeout that is taken is one of at most eight digits and doesn't overflow; a
 * choice of encodings is one of those on offer and one that wasn't ruled out.
 */
#include "base/check.h"
#include "proxy/filter/compressor.h"
#include "proxy/filter/grpc_frames.h"

#define FUZZ_TEXT_BYTES 4096
#define HOUR_MS 3600000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_timeout(struct str text)
{
    uint64_t ms;
    char out[GRPC_TIMEOUT_TEXT_BYTES];
    if (!grpc_timeout_read(text, &ms))
        return;
    uint64_t again;
    CHECK(ms <= (uint64_t)99999999 * HOUR_MS);
    struct str written = grpc_timeout_write(ms, out);
    CHECK(written.n <= sizeof out && grpc_timeout_read(written, &again));
    CHECK(again <= ms && ms - again < (ms > 99999999 ? HOUR_MS : 1));
}

static void check_encodings(struct str text)
{
    static const struct compressor_candidate offered[] = {{{"gzip", 4}, false}, {{"br", 2}, true}, {{"zstd", 4}, false}};
    for (uint32_t n = 0; n <= ARRAY_LEN(offered); n++) {
        struct str chosen;
        bool is_known = false;
        enum compressor_choice choice = compressor_choose(text, offered, n, &chosen);
        for (uint32_t i = 0; i < n; i++)
            is_known |= str_eq(chosen, offered[i].encoding);
        CHECK(choice == COMPRESSOR_VALID || choice == COMPRESSOR_WILDCARD ? is_known : str_eq(chosen, STR("identity")));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_make((const char *)data, size);
    if (size > FUZZ_TEXT_BYTES)
        return 0;
    check_timeout(text);
    check_encodings(text);
    return 0;
}
