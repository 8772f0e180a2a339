/* SPDX-License-Identifier: Apache-2.0
 *
 * Metadata values. Whatever this file builds (a request's dynamic metadata and the copies in it) has
 * room for a power of two of items, so that appending needs no memory of its own size each time and
 * the structs carry no capacity; configured metadata is packed and is only read. Nothing is freed:
 * all of it is an arena's. Keys and depth are bounded, since a filter may take both from a client.
 * Pure; any thread that owns the values.
 */
#include "proxy/metadata.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Values nest as deep as configuration or a body had them; printing and copying recurse. */
#define METADATA_DEPTH_MAX 64

/* ---- looking ---- */

static const struct meta_value *find_field(const struct meta_field *items, uint32_t count, struct str name)
{
    for (uint32_t i = 0; i < count; i++)
        if (str_eq(items[i].name, name))
            return &items[i].value;
    return NULL;
}

const struct meta_value *meta_field(const struct meta_value *v, struct str name)
{
    return v && v->kind == META_STRUCT ? find_field(v->u.fields.items, v->u.fields.count, name) : NULL;
}

const struct meta_value *metadata_find(const struct metadata *m, struct str space, const struct str *path, uint32_t n)
{
    const struct meta_value *v = m ? find_field(m->items, m->count, space) : NULL;
    for (uint32_t i = 0; v && i < n; i++)
        v = meta_field(v, path[i]);
    return v;
}

static bool lists_are_equal(const struct meta_value *a, const struct meta_value *b)
{
    if (a->u.list.count != b->u.list.count)
        return false;
    for (uint32_t i = 0; i < a->u.list.count; i++)
        if (!meta_equal(&a->u.list.items[i], &b->u.list.items[i]))
            return false;
    return true;
}

static bool structs_are_equal(const struct meta_value *a, const struct meta_value *b)
{
    if (a->u.fields.count != b->u.fields.count)
        return false;
    for (uint32_t i = 0; i < a->u.fields.count; i++) { /* in any order: a Struct is a map */
        const struct meta_value *other = meta_field(b, a->u.fields.items[i].name);
        if (!other || !meta_equal(&a->u.fields.items[i].value, other))
            return false;
    }
    return true;
}

bool meta_equal(const struct meta_value *a, const struct meta_value *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case META_NULL:
        return true;
    case META_BOOL:
        return a->u.boolean == b->u.boolean;
    case META_NUMBER:
        return a->u.number == b->u.number;
    case META_STRING:
        return str_eq(a->u.string, b->u.string);
    case META_LIST:
        return lists_are_equal(a, b);
    case META_STRUCT:
        return structs_are_equal(a, b);
    }
    return false;
}

/* ---- building ---- */

static uint32_t room_for(uint32_t n)
{
    uint32_t room = 4;
    while (room < n)
        room *= 2;
    return room;
}

/* Makes room for one more item; false when the arena is full. */
static bool grow(void **items, uint32_t count, size_t item_bytes, struct arena *a)
{
    if (count && count < room_for(count))
        return true;
    void *bigger = arena_zalloc(a, room_for(count + 1) * item_bytes);
    if (!bigger)
        return false;
    if (count)
        memcpy(bigger, *items, count * item_bytes);
    *items = bigger;
    return true;
}

static struct meta_value copy_value(struct arena *a, const struct meta_value *v, uint32_t depth);

static struct meta_value copy_list(struct arena *a, const struct meta_value *v, uint32_t depth)
{
    struct meta_value out = {.kind = META_LIST};
    uint32_t n = v->u.list.count;
    out.u.list.items = n ? arena_zalloc(a, room_for(n) * sizeof(struct meta_value)) : NULL;
    if (n && !out.u.list.items)
        return (struct meta_value){0};
    for (uint32_t i = 0; i < n; i++)
        out.u.list.items[i] = copy_value(a, &v->u.list.items[i], depth + 1);
    out.u.list.count = n;
    return out;
}

static struct meta_value copy_struct(struct arena *a, const struct meta_value *v, uint32_t depth)
{
    struct meta_value out = {.kind = META_STRUCT};
    uint32_t n = v->u.fields.count;
    out.u.fields.items = n ? arena_zalloc(a, room_for(n) * sizeof(struct meta_field)) : NULL;
    if (n && !out.u.fields.items)
        return (struct meta_value){0};
    for (uint32_t i = 0; i < n; i++) {
        const struct meta_field *f = &v->u.fields.items[i];
        out.u.fields.items[i] = (struct meta_field){arena_str(a, f->name), copy_value(a, &f->value, depth + 1)};
    }
    out.u.fields.count = n;
    return out;
}

static struct meta_value copy_value(struct arena *a, const struct meta_value *v, uint32_t depth)
{
    struct meta_value out = *v;
    if (depth > METADATA_DEPTH_MAX)
        return (struct meta_value){0};
    if (v->kind == META_LIST)
        return copy_list(a, v, depth);
    if (v->kind == META_STRUCT)
        return copy_struct(a, v, depth);
    if (v->kind == META_STRING)
        out.u.string = arena_str(a, v->u.string);
    return out;
}

struct meta_value meta_copy(struct arena *a, const struct meta_value *v)
{
    struct meta_value out = copy_value(a, v, 0);
    return a->overflowed ? (struct meta_value){0} : out;
}

/* The field's place in an array of ours, made when it is missing; NULL at a limit. */
static struct meta_value *place(struct meta_field **items, uint32_t *count, struct str name, struct arena *a)
{
    struct meta_value *there = (struct meta_value *)find_field(*items, *count, name);
    if (there)
        return there;
    void *grown = *items;
    if (*count >= METADATA_KEYS_MAX || !grow(&grown, *count, sizeof(struct meta_field), a))
        return NULL;
    *items = grown;
    struct str copy = arena_str(a, name);
    if (a->overflowed)
        return NULL;
    struct meta_field *f = &(*items)[(*count)++];
    *f = (struct meta_field){.name = copy};
    return &f->value;
}

static struct meta_value *space_of(struct metadata *m, struct arena *a, struct str space)
{
    struct meta_value *v = place(&m->items, &m->count, space, a);
    if (v && v->kind != META_STRUCT)
        *v = (struct meta_value){.kind = META_STRUCT};
    return v;
}

bool metadata_set(struct metadata *m, struct arena *a, struct str space, struct str key, const struct meta_value *v)
{
    struct meta_value copy = meta_copy(a, v);
    if (a->overflowed)
        return false;
    struct meta_value *fields = space_of(m, a, space);
    struct meta_value *at = fields ? place(&fields->u.fields.items, &fields->u.fields.count, key, a) : NULL;
    if (at)
        *at = copy;
    return at != NULL;
}

static bool append_list(struct meta_value *into, struct arena *a, const struct meta_value *from)
{
    for (uint32_t i = 0; i < from->u.list.count; i++) {
        void *items = into->u.list.items;
        if (into->u.list.count >= METADATA_KEYS_MAX || !grow(&items, into->u.list.count, sizeof(struct meta_value), a))
            return false;
        into->u.list.items = items;
        into->u.list.items[into->u.list.count++] = meta_copy(a, &from->u.list.items[i]);
    }
    return true;
}

static bool merge(struct meta_value *into, struct arena *a, const struct meta_value *from, uint32_t depth)
{
    if (depth > METADATA_DEPTH_MAX)
        return false;
    if (into->kind == META_LIST && from->kind == META_LIST)
        return append_list(into, a, from);
    if (into->kind != META_STRUCT || from->kind != META_STRUCT) {
        *into = meta_copy(a, from);
        return !a->overflowed;
    }
    bool all = true;
    for (uint32_t i = 0; i < from->u.fields.count; i++) {
        const struct meta_field *f = &from->u.fields.items[i];
        struct meta_value *at = place(&into->u.fields.items, &into->u.fields.count, f->name, a);
        all = at && merge(at, a, &f->value, depth + 1) && all;
    }
    return all;
}

bool metadata_merge(struct metadata *m, struct arena *a, struct str space, const struct meta_value *fields)
{
    struct meta_value *into = space_of(m, a, space);
    return into && fields->kind == META_STRUCT && merge(into, a, fields, 0);
}

/* ---- printing ---- */

/* The fewest significant digits that give the same double back, without the point; the exponent of the first. */
static int shortest_digits(double v, char digits[20], int *exponent)
{
    char text[40];
    for (int precision = 0; precision <= 16; precision++) {
        snprintf(text, sizeof(text), "%.*e", precision, v);
        if (strtod(text, NULL) == v)
            break;
    }
    int n = 0;
    const char *p = text;
    for (; *p != 'e'; p++)
        if (*p != '.')
            digits[n++] = *p;
    uint64_t e = 0;
    str_to_u64(str_from(p + 2), &e); /* "e+05" */
    *exponent = p[1] == '-' ? -(int)e : (int)e;
    return n;
}

static void print_fixed(const char *digits, int n, int exponent, struct strbuf *out)
{
    if (exponent < 0)
        strbuf_addz(out, "0.");
    for (int i = -1; i > exponent; i--)
        strbuf_addc(out, '0');
    for (int i = 0; i < n; i++) {
        strbuf_addc(out, digits[i]);
        if (i == exponent && i + 1 < n)
            strbuf_addc(out, '.');
    }
}

/* As C++'s to_chars, which Envoy prints by: the shorter of the fixed and the scientific form, and of two alike the fixed one.
 * JSON has no NaN and no infinities: null. */
static void print_number(double v, struct strbuf *out)
{
    char digits[20];
    int exponent, n;
    if (!isfinite(v)) {
        strbuf_addz(out, "null");
        return;
    }
    if (v < 0)
        strbuf_addc(out, '-');
    n = shortest_digits(fabs(v), digits, &exponent);
    int scientific = n + (n > 1) + 2 + (exponent > 99 || exponent < -99 ? 3 : 2);
    int fixed = exponent < 0 ? n + 1 - exponent : n > exponent + 1 ? n + 1 : exponent + 1;
    if (fixed > scientific)
        strbuf_addf(out, "%.*e", n - 1, fabs(v));
    else if (n <= exponent + 1)
        strbuf_addf(out, "%.0f", fabs(v)); /* all digits, where there are more than it takes to tell it */
    else
        print_fixed(digits, n, exponent, out);
}

static void print_string(struct str s, struct strbuf *out)
{
    strbuf_addc(out, '"');
    strbuf_add_json(out, s);
    strbuf_addc(out, '"');
}

/* Fields by name: a map has no order of its own, and lines of a log should compare. The next one after `last`. */
static const struct meta_field *next_by_name(const struct meta_value *v, const struct meta_field *last)
{
    const struct meta_field *best = NULL;
    for (uint32_t i = 0; i < v->u.fields.count; i++) {
        const struct meta_field *f = &v->u.fields.items[i];
        if ((!last || str_cmp(f->name, last->name) > 0) && (!best || str_cmp(f->name, best->name) < 0))
            best = f;
    }
    return best;
}

static void print_value(const struct meta_value *v, struct strbuf *out, uint32_t depth);

static void print_struct(const struct meta_value *v, struct strbuf *out, uint32_t depth)
{
    const struct meta_field *f = NULL;
    strbuf_addc(out, '{');
    while ((f = next_by_name(v, f)) != NULL) {
        if (out->p[out->n - 1] != '{')
            strbuf_addc(out, ',');
        print_string(f->name, out);
        strbuf_addc(out, ':');
        print_value(&f->value, out, depth + 1);
    }
    strbuf_addc(out, '}');
}

static void print_list(const struct meta_value *v, struct strbuf *out, uint32_t depth)
{
    strbuf_addc(out, '[');
    for (uint32_t i = 0; i < v->u.list.count; i++) {
        if (i)
            strbuf_addc(out, ',');
        print_value(&v->u.list.items[i], out, depth + 1);
    }
    strbuf_addc(out, ']');
}

static void print_value(const struct meta_value *v, struct strbuf *out, uint32_t depth)
{
    switch (depth > METADATA_DEPTH_MAX ? META_NULL : v->kind) {
    case META_NULL:
        strbuf_addz(out, "null");
        break;
    case META_BOOL:
        strbuf_addz(out, v->u.boolean ? "true" : "false");
        break;
    case META_NUMBER:
        print_number(v->u.number, out);
        break;
    case META_STRING:
        print_string(v->u.string, out);
        break;
    case META_LIST:
        print_list(v, out, depth);
        break;
    case META_STRUCT:
        print_struct(v, out, depth);
        break;
    }
}

void meta_print_json(const struct meta_value *v, bool bare_string, struct strbuf *out)
{
    if (bare_string && v->kind == META_STRING)
        strbuf_adds(out, v->u.string);
    else
        print_value(v, out, 0);
}
