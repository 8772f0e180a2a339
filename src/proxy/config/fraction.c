/* SPDX-License-Identifier: Apache-2.0
 *
 * Fractions of traffic: FractionalPercent and its runtime form. Main thread.
 */
#include "proxy/config/config_priv.h"

#define DENOMINATOR(x) ENVOY__TYPE__V3__FRACTIONAL_PERCENT__DENOMINATOR_TYPE__##x

struct runtime_fraction cfg_fraction(struct config_reader *cr, const pb_fractional_percent *m)
{
    struct runtime_fraction f = {.denominator = 100};
    if (!m)
        return f;
    f.numerator = GET(m, numerator);
    int d = GET(m, denominator);
    f.denominator = d == DENOMINATOR(MILLION) ? 1000000 : d == DENOMINATOR(TEN_THOUSAND) ? 10000 : 100;
    return f;
}

struct runtime_fraction cfg_runtime_fraction(struct config_reader *cr, struct arena *a, const pb_runtime_fraction *m, uint32_t percent)
{
    struct runtime_fraction f = {.numerator = percent, .denominator = 100};
    if (!m)
        return f;
    IN("default_value")
        f = cfg_fraction(cr, GET(m, default_value));
    f.key = arena_str(a, TEXT(m, runtime_key));
    return f;
}
