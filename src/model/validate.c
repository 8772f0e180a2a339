/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules beyond the schema: metadata here (Kubernetes: "Object Names and IDs", "Labels and Selectors"), each kind's in a file
 * of its own. Pure.
 */
#include "model/validate_priv.h"

static void (*const kind_rules[KIND_COUNT])(struct check *c, const struct object *o) = {
    [KIND_VIRTUAL_SERVICE] = NULL,
};

void check_warn(struct check *c, const char *field, const char *fmt, ...)
{
    char text[ERR_MESSAGE_BYTES];
    struct err_list *faults = c->r.faults;
    va_list ap;
    if (!c->warnings)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    c->r.faults = c->warnings;
    proto_fault(&c->r, ERR_INVALID, field, "%s", text);
    c->r.faults = faults;
}

static void check_label(struct check *c, const struct label *l)
{
    struct str prefix, name = l->key;
    ptrdiff_t slash = str_find_char(l->key, '/');
    if (slash >= 0) {
        prefix = str_make(l->key.p, (size_t)slash);
        name = str_make(l->key.p + slash + 1, l->key.n - (size_t)slash - 1);
        if (!is_dns_subdomain(prefix))
            check_fault(c, "", "the prefix '%.*s' is not a DNS name", STR_ARG(prefix));
    }
    if (!is_label_name(name))
        check_fault(c, "", "'%.*s' must be 1 to 63 letters, digits, '-', '_', '.' and begin and end with one of the former two",
                    STR_ARG(name));
    if (l->value.n && !is_label_name(l->value))
        check_fault(c, "", "'%.*s' must be at most 63 letters, digits, '-', '_', '.' and begin and end with one of the former two",
                    STR_ARG(l->value));
}

/* Kinds whose names Kubernetes wants shorter than a DNS name. */
static bool is_name(enum kind_id kind, struct str name)
{
    if (kind == KIND_SERVICE || kind == KIND_NAMESPACE)
        return is_dns_label(name);
    return is_dns_subdomain(name);
}

static void check_metadata(struct check *c, const struct object *o)
{
    if (!is_name(o->kind->id, o->name))
        check_fault(c, "metadata.name", "'%.*s' must be lower-case letters, digits, '-'%s, and begin and end with one of the former two",
                    STR_ARG(o->name), is_dns_subdomain(o->name) ? "" : " and '.'");
    if (o->kind->is_namespaced && !is_dns_label(o->ns))
        check_fault(c, "metadata.namespace", "'%.*s' must be at most 63 lower-case letters, digits and '-'", STR_ARG(o->ns));
    for (uint32_t i = 0; i < o->labels.count; i++)
        PROTO_IN (&c->r, "metadata.labels[\"%.*s\"]", STR_ARG(o->labels.items[i].key))
            check_label(c, &o->labels.items[i]);
}

void object_validate(const struct object *o, struct err_list *faults, struct err_list *warnings)
{
    struct check c = {.warnings = warnings, .object = o};
    proto_reader_init(&c.r, NULL, faults);
    check_metadata(&c, o);
    if (kind_rules[o->kind->id]) {
        size_t mark = o->kind->shape == KIND_SPEC ? proto_enter(&c.r, "spec") : 0;
        kind_rules[o->kind->id](&c, o);
        proto_leave(&c.r, mark);
    }
    proto_reader_fini(&c.r);
}
