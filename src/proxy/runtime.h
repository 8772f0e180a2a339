/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime values: layers of dotted keys (static layers, the admin layer), the last one wins. Made and
 * changed on the main thread; workers read an immutable version handed to them.
 */
#ifndef PROXY_RUNTIME_H
#define PROXY_RUNTIME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"
#include "base/str.h"

struct runtime;
struct runtime_layer_spec {
    struct str name;
    bool is_admin;
    size_t count;
    const struct str *keys;
    const struct str *values; /* text of the value: "5", "true", "50" */
};
struct runtime *runtime_new(const struct runtime_layer_spec *layers, size_t count);
void runtime_free(struct runtime **rt);
/* The version the calling thread sees (process-wide pointer, swapped by the main thread; old ones are retired at exit). */
struct str runtime_get(struct str key); /* null str when unset */
uint64_t runtime_u64(struct str key, uint64_t fallback);
bool runtime_bool(struct str key, bool fallback);
/* RuntimeFractionalPercent: key may override numerator; denominators 100, 10000, 1000000. */
bool runtime_fraction(struct str key, uint64_t numerator, uint64_t denominator, uint64_t random_value);
struct runtime_fraction { struct str key; uint64_t numerator, denominator; }; /* key "" = always the default */
static inline bool runtime_fraction_hits(const struct runtime_fraction *f, uint64_t random_value)
{
    return runtime_fraction(f->key, f->numerator, f->denominator, random_value);
}
/* Admin: POST /runtime_modify?key=value ("" removes). ERR_STATE without an admin layer. */
int runtime_modify(struct str key, struct str value, struct err *err);
struct strbuf;
void runtime_dump_json(struct strbuf *out); /* Envoy's /runtime page */

#endif
