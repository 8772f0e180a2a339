/* SPDX-License-Identifier: Apache-2.0
 *
 * State of the world: every request repeats the names and says which version was taken last; a NACK keeps the version before.
 * A wildcard is an empty list, unless names have ever been asked for: then an empty list would mean none, and "*" is said.
 */
#include "xds/client_priv.h"

#include <stdio.h>

#include "proto/wire.h"

void sotw_request(struct xds_client *c, struct type *t, struct arena *a, struct xds_request *r)
{
    (void)c;
    r->version = strbuf_str(&t->version);
    r->nonce = strbuf_str(&t->nonce); /* of the last response, whether or not this answers it */
    r->names = arena_alloc(a, (t->wanted_count + 1) * sizeof *r->names);
    if (t->is_wildcard && t->was_named)
        r->names[r->name_count++] = STR("*");
    LIST_EACH(it, safe, &t->names) {
        struct name *n = LIST_ENTRY(it, name, node);
        if (n->is_wanted)
            r->names[r->name_count++] = str_make(n->text, n->n);
    }
    t->said_wildcard = t->is_wildcard;
}

/* A resource's own name, which stands in it. */
static bool read_name(const struct xds_type *desc, struct xds_resource *r)
{
    struct wire_reader fields = wire_read(r->packed);
    if (!desc->name_field)
        return true;
    for (struct wire_field f; wire_next(&fields, &f);)
        if (f.number == desc->name_field) {
            r->name = f.bytes;
            if (f.type != 2 || !wire_text_is_valid(f.bytes))
                return false;
        }
    return !fields.failed;
}

void sotw_check(struct type *t, struct xds_response *r, struct err_list *faults)
{
    for (uint32_t i = 0; i < r->resource_count; i++) {
        struct xds_resource *one = &r->resources[i];
        char path[32];
        snprintf(path, sizeof path, "resources[%u]", i);
        if (!one->has_body)
            continue;
        struct str rest = one->type_url, type = str_split(one->type_url, '/', &rest);
        while (rest.n)
            type = str_split(rest, '/', &rest);
        if (!str_eq(type, str_from(t->desc->name)))
            err_list_addf(faults, ERR_INVALID, path, "the type %.*s isn't the response's, %s", STR_ARG(one->type_url), t->desc->name);
        else if (!one->name.n && !read_name(t->desc, one))
            err_list_addf(faults, ERR_SYNTAX, path, "not a valid %s", t->desc->name);
    }
}

void sotw_settle(struct type *t, const struct xds_response *r, uint64_t now_us, bool is_taken)
{
    if (is_taken) {
        strbuf_reset(&t->version);
        strbuf_adds(&t->version, r->version);
    }
    for (uint32_t i = 0; i < r->resource_count; i++) {
        const struct xds_resource *one = &r->resources[i];
        struct name *known = name_find(t, one->name);
        if (one->has_ttl && is_taken)
            name_set_ttl(t, known ? known : name_get(t, one->name), now_us + one->ttl_us);
        else if (known && one->has_body)
            name_set_ttl(t, known, 0);
    }
}
