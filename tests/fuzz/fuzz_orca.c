/* SPDX-License-Identifier: Apache-2.0
 *
 * Load reports of upstreams in each of their forms: whatever one says, the host's weight stays a weight
 * and nothing is read beyond the header. A report in Protobuf says the same in either header.
 */
#include "base/arena.h"
#include "base/base64.h"
#include "base/check.h"
#include "proxy/lb/lb.h"

#define FUZZ_ARENA_BYTES ((size_t)1 << 20)
#define FUZZ_TEXT_BYTES 8192 /* more than is looked at */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct str metrics[] = {{"named_metrics.a", 15}, {"utilization.b", 13}, {"mem_utilization", 15}};
static const struct lb_orca_spec orca[] = {
    {.error_penalty = 1},
    {.error_penalty = 1e300, .metrics = metrics, .metric_count = 3},
};

static uint32_t weight_after(const struct lb_orca_spec *orca_spec, struct arena *a, struct str name, struct str value)
{
    struct lb_policy_spec spec = {.orca = orca_spec};
    struct host h = {.weight = 1};
    struct headers headers;
    headers_init(&headers, a);
    headers_add_ref(&headers, name, value);
    lb_load_report(&spec, &h, &headers, 7);
    CHECK((h.reported_weight != 0) == (h.reported_at_ms == 7) && h.reported_since_ms == h.reported_at_ms);
    return h.reported_weight;
}

static struct str labelled(struct arena *a, const char *label, struct str text)
{
    return arena_printf(a, "%s%.*s", label, (int)text.n, text.p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct str text = str_make((const char *)data, size);
    if (size > FUZZ_TEXT_BYTES)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(orca); i++) {
        arena_init(&a, FUZZ_ARENA_BYTES);
        struct str coded = b64_encode_in(&a, text), name = STR("endpoint-load-metrics");
        weight_after(&orca[i], &a, name, text);
        weight_after(&orca[i], &a, name, labelled(&a, "TEXT ", text));
        weight_after(&orca[i], &a, name, labelled(&a, "JSON ", text));
        if (coded.n + 4 <= 4096)
            CHECK(weight_after(&orca[i], &a, name, labelled(&a, "BIN ", coded)) ==
                  weight_after(&orca[i], &a, STR("endpoint-load-metrics-bin"), coded));
        arena_fini(&a);
    }
    return 0;
}
