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

struct config_source; /* proxy/discovery/discovery.h */
struct runtime;
struct runtime_layer_spec {
    struct str name;
    bool is_admin;
    const struct config_source *source; struct str rtds_name; /* rtds_layer: values come (discovery/rtds.h); NULL: it isn't one */
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
/* All values of the `index`-th layer anew. Gives the version that readers may still be at, NULL where nothing changed:
 * runtime_version_free once no thread can be (clusters_after_turns). */
struct runtime_version *runtime_replace_layer(size_t index, const struct str *keys, const struct str *values, size_t count);
void runtime_version_free(void *version);
/* Admin: POST /runtime_modify?key=value ("" removes). ERR_STATE without an admin layer. */
int runtime_modify(struct str key, struct str value, struct err *err);
struct strbuf;
void runtime_dump_json(struct strbuf *out); /* Envoy's /runtime page */

#endif
