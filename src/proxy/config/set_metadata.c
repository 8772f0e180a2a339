/* SPDX-License-Identifier: Apache-2.0
 *
 * set_metadata's configuration. Typed metadata is refused by name: nothing here could read it; settings in routes are, since
 * Envoy takes them and heeds them not. Main thread.
 */
#include "proxy/filter/set_metadata.h"

#include "proxy/config/config_priv.h"

static void free_config(void *config)
{
    struct set_metadata_config *c = config;
    stat_scope_unref(&c->stats);
}

static struct set_metadata_config *read_config(struct config_reader *cr, const pb_set_metadata *m, struct arena *a)
{
    struct set_metadata_config *c = arena_zalloc(a, sizeof *c);
    uint32_t n = LEN(m, metadata);
    struct str space = TEXT(m, metadata_namespace); /* the older form: one namespace, always merged, and first */
    const pb_struct *value = GET(m, value);
    c->entries = ARENA_ARRAY(a, struct set_metadata_entry, n + 1);
    if (value)
        c->entries[c->count++] = (struct set_metadata_entry){arena_str(a, space), true, cfg_struct(cr, value, a)};
    for (uint32_t i = 0; i < n; i++)
        IN("metadata[%u]", i) {
            const pb_set_metadata_entry *e = m->metadata[i];
            struct set_metadata_entry *entry = &c->entries[c->count++];
            entry->space = arena_str(a, TEXT(e, metadata_namespace));
            entry->allow_overwrite = GET(e, allow_overwrite);
            entry->value = cfg_struct(cr, GET(e, value), a); /* typed_value stays unread */
        }
    return c;
}

int cfg_set_metadata(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_http_filter *f = out;
    f->spec->config = read_config(cr, (const pb_set_metadata *)msg, f->arena);
    f->spec->free_config = free_config;
    return 0;
}
