/* SPDX-License-Identifier: Apache-2.0
 *
 * Scalars of a document -> values of message fields: the Protobuf JSON mapping's rules for numbers,
 * booleans, strings, bytes and enums, plus YAML's plain scalars. Every refusal names the value.
 */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"
#include "proto/doc_priv.h"

#define NUMBER_TEXT_MAX 400 /* digits of the longest double, and more than enough */

static bool wanted(struct decoder *d, const struct doc_node *node, const char *what)
{
    char buf[128];
    return decode_fault(d, node, "must be %s, is %s", what, doc_describe(node, buf, sizeof(buf)));
}

/* ---- numbers ---- */

static bool text_to_double(struct str s, double *out)
{
    char buf[NUMBER_TEXT_MAX + 1], *end;
    static const char allowed[] = "0123456789+-.eE";
    if (s.n == 0 || s.n > NUMBER_TEXT_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!memchr(allowed, s.p[i], sizeof(allowed) - 1))
            return false;
    memcpy(buf, s.p, s.n);
    buf[s.n] = 0;
    *out = strtod(buf, &end);
    return *end == 0;
}

static bool text_to_special(const struct doc_node *node, double *out)
{
    static const struct {
        const char *text;
        bool plain_only;
        double value;
    } names[] = {
        {"NaN", false, NAN}, {"Infinity", false, INFINITY}, {"-Infinity", false, -INFINITY},
        {".nan", true, NAN}, {".inf", true, INFINITY},      {"-.inf", true, -INFINITY},
        {".NaN", true, NAN}, {".Inf", true, INFINITY},      {"-.Inf", true, -INFINITY},
        {".NAN", true, NAN}, {".INF", true, INFINITY},      {"-.INF", true, -INFINITY},
        {"+.inf", true, INFINITY},
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if ((!names[i].plain_only || node->plain) && str_eq(node->text, str_from(names[i].text))) {
            *out = names[i].value;
            return true;
        }
    return false;
}

struct integer {
    bool negative;
    uint64_t magnitude;
};

/* Also "1e3" and "5.0", which are integers in JSON's eyes, and YAML's 0x and 0o. */
static bool text_to_integer(const struct doc_node *node, struct integer *out)
{
    struct str s = node->text;
    double v;
    *out = (struct integer){false, 0};
    if (node->plain && str_has_prefix(s, STR("0x")))
        return str_to_u64_hex(str_make(s.p + 2, s.n - 2), &out->magnitude);
    if (node->plain && str_has_prefix(s, STR("0o"))) {
        for (size_t i = 2; i < s.n; i++) {
            if (s.p[i] < '0' || s.p[i] > '7' || out->magnitude >> 61)
                return false;
            out->magnitude = out->magnitude << 3 | (uint64_t)(s.p[i] - '0');
        }
        return s.n > 2;
    }
    if (s.n && (*s.p == '-' || (node->plain && *s.p == '+'))) {
        out->negative = *s.p == '-';
        s = str_make(s.p + 1, s.n - 1);
    }
    if (str_to_u64(s, &out->magnitude))
        return true;
    if (s.n == 0 || *s.p == '-' || *s.p == '+' || !text_to_double(s, &v) || v != floor(v) || v >= 0x1p64)
        return false;
    out->magnitude = (uint64_t)v;
    return true;
}

static bool is_numeric_kind(const struct doc_node *node)
{
    return node->kind == DOC_NUMBER || node->kind == DOC_STRING;
}

static bool decode_signed(struct decoder *d, const struct doc_node *node, int64_t min, int64_t max,
                          int64_t *out)
{
    struct integer v;
    if (!is_numeric_kind(node) || !text_to_integer(node, &v))
        return wanted(d, node, "an integer");
    uint64_t limit = v.negative ? (uint64_t)max + 1 : (uint64_t)max;
    if (v.magnitude > limit) {
        char buf[128];
        return decode_fault(d, node, "must be between %lld and %lld, is %s", (long long)min,
                            (long long)max, doc_describe(node, buf, sizeof(buf)));
    }
    *out = v.negative ? (int64_t)(0 - v.magnitude) : (int64_t)v.magnitude;
    return true;
}

static bool decode_unsigned(struct decoder *d, const struct doc_node *node, uint64_t max,
                            uint64_t *out)
{
    struct integer v;
    if (!is_numeric_kind(node) || !text_to_integer(node, &v))
        return wanted(d, node, "an integer");
    if (v.magnitude > max || (v.negative && v.magnitude)) {
        char buf[128];
        return decode_fault(d, node, "must be between 0 and %llu, is %s", (unsigned long long)max,
                            doc_describe(node, buf, sizeof(buf)));
    }
    *out = v.magnitude;
    return true;
}

static bool decode_real(struct decoder *d, const struct doc_node *node, double max, double *out)
{
    struct integer v;
    if (!is_numeric_kind(node))
        return wanted(d, node, "a number");
    if (text_to_special(node, out))
        return true;
    if (text_to_double(node->text, out)) {
        if (isinf(*out) || fabs(*out) > max)
            return wanted(d, node, "a number in its type's range");
        return true;
    }
    if (!node->plain || !text_to_integer(node, &v))
        return wanted(d, node, "a number");
    *out = v.negative ? -(double)v.magnitude : (double)v.magnitude;
    return true;
}

/* ---- the others ---- */

/* YAML 1.1's words, which people write and Envoy takes. */
static bool plain_word_to_bool(struct str s, bool *out)
{
    static const char *const yes[] = {"yes", "on", "y"}, *const no[] = {"no", "off", "n"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        *out = str_eq_nocase(s, str_from(yes[i]));
        if (*out || str_eq_nocase(s, str_from(no[i])))
            return true;
    }
    return false;
}

static bool decode_bool(struct decoder *d, const struct doc_node *node, protobuf_c_boolean *out)
{
    bool value = node->flag;
    if (node->kind != DOC_BOOL &&
        !(node->plain && node->kind == DOC_STRING && plain_word_to_bool(node->text, &value)))
        return wanted(d, node, "true or false");
    *out = value;
    return true;
}

bool decode_is_yaml11_bool(const struct doc_node *node, bool *out)
{
    static const char *const forms[][3] = {{"y", "yes", "on"}, {"Y", "Yes", "On"}, {"Y", "YES", "ON"},
                                           {"n", "no", "off"}, {"N", "No", "Off"}, {"N", "NO", "OFF"}};
    for (size_t i = 0; node->plain && node->kind == DOC_STRING && i < ARRAY_LEN(forms); i++)
        for (size_t k = 0; k < ARRAY_LEN(forms[0]); k++)
            if (str_eq(node->text, str_from(forms[i][k]))) {
                *out = i < 3;
                return true;
            }
    return false;
}

/* What Kubernetes takes for something else than text, though our schema says text. */
static bool is_text_to_all(struct decoder *d, const struct doc_node *node)
{
    bool value;
    if (!(d->flags & DOC_KUBERNETES) || !node->plain)
        return true;
    bool is_bool = node->kind == DOC_BOOL || decode_is_yaml11_bool(node, &value);
    if (!is_bool && node->kind != DOC_NUMBER)
        return true;
    return decode_fault(d, node, "must be a string, and %.*s without quotes is %s to Kubernetes", STR_ARG(node->text),
                        is_bool ? "a boolean" : "a number");
}

static bool decode_string(struct decoder *d, const struct doc_node *node, char **out)
{
    if (node->kind != DOC_STRING && !(node->plain && node->kind < DOC_LIST))
        return wanted(d, node, "a string");
    if (!is_text_to_all(d, node))
        return false;
    if (node->text.n && memchr(node->text.p, 0, node->text.n))
        return decode_fault(d, node, "must not hold a NUL character");
    *out = proto_arena_strdup(d->arena, node->text);
    return *out || decode_nomem(d, node);
}

/* Kubernetes takes base64 in lines. */
static struct str without_line_ends(struct str s, char *room)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '\r' && s.p[i] != '\n')
            room[n++] = s.p[i];
    return str_make(room, n);
}

static bool decode_bytes(struct decoder *d, const struct doc_node *node, ProtobufCBinaryData *out)
{
    if (node->kind != DOC_STRING && !(node->plain && node->kind < DOC_LIST))
        return wanted(d, node, "a base64 string");
    struct str text = node->text;
    char *lines = NULL;
    out->data = proto_arena_alloc(d->arena, text.n);
    if (!out->data)
        return decode_nomem(d, node);
    if (d->flags & DOC_KUBERNETES)
        text = without_line_ends(text, lines = mem_alloc(text.n + 1));
    bool ok = base64_decode(text, out->data, &out->len);
    mem_free(lines);
    return ok || wanted(d, node, "a base64 string");
}

static bool decode_enum(struct decoder *d, const struct doc_node *node,
                        const ProtobufCEnumDescriptor *desc, int32_t *out)
{
    int number;
    int64_t v;
    if (node->kind == DOC_NUMBER) {
        if (!decode_signed(d, node, INT32_MIN, INT32_MAX, &v))
            return false;
        *out = (int32_t)v;
        return true;
    }
    if (node->kind != DOC_STRING && !(node->plain && node->kind < DOC_LIST))
        return wanted(d, node, "the name of a value");
    if (!is_text_to_all(d, node))
        return false;
    if (proto_enum_number(desc, node->text, &number)) {
        *out = number;
        return true;
    }
    struct nearest near = {node->text, NULL, 0};
    for (size_t i = 0; i < desc->n_value_names; i++)
        nearest_try(&near, desc->values_by_name[i].name);
    return decode_fault(d, node, "'%.*s' is no value of %s%s%s%s", STR_ARG(node->text), desc->name,
                        near.name ? "; did you mean " : "", near.name ? near.name : "",
                        near.name ? "?" : "");
}

bool decode_scalar(struct decoder *d, const struct doc_node *node,
                   const ProtobufCFieldDescriptor *field, void *out)
{
    int64_t i;
    uint64_t u;
    double f;
    bool ok;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        if ((ok = decode_signed(d, node, INT32_MIN, INT32_MAX, &i)))
            *(int32_t *)out = (int32_t)i;
        return ok;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return decode_signed(d, node, INT64_MIN, INT64_MAX, out);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        if ((ok = decode_unsigned(d, node, UINT32_MAX, &u)))
            *(uint32_t *)out = (uint32_t)u;
        return ok;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return decode_unsigned(d, node, UINT64_MAX, out);
    case PROTOBUF_C_TYPE_FLOAT:
        if ((ok = decode_real(d, node, FLT_MAX, &f)))
            *(float *)out = (float)f;
        return ok;
    case PROTOBUF_C_TYPE_DOUBLE:
        return decode_real(d, node, DBL_MAX, out);
    case PROTOBUF_C_TYPE_BOOL:
        return decode_bool(d, node, out);
    case PROTOBUF_C_TYPE_ENUM:
        return decode_enum(d, node, field->descriptor, out);
    case PROTOBUF_C_TYPE_STRING:
        return decode_string(d, node, out);
    case PROTOBUF_C_TYPE_BYTES:
        return decode_bytes(d, node, out);
    case PROTOBUF_C_TYPE_MESSAGE:
        break;
    }
    CHECK(!"a scalar");
    return false;
}
