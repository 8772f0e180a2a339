/* SPDX-License-Identifier: Apache-2.0
 *
 * Rules of order (const, lt, lte, gt, gte, in, not_in) for every numeric type, durations and
 * timestamps at once: their rules messages all have the same members, found by name. Pure.
 */
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "proto/doc_priv.h"
#include "proto/rules_priv.h"

enum order { LESS = -1, EQUAL = 0, MORE = 1, UNORDERED = 2 }; /* NaN is unordered */

#define ORDER(x, y) ((x) < (y) ? LESS : (x) > (y) ? MORE : (x) == (y) ? EQUAL : UNORDERED)

/* Duration and Timestamp have the same shape. */
static enum order order_time(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    const Google__Protobuf__Duration *x = (const Google__Protobuf__Duration *)a;
    const Google__Protobuf__Duration *y = (const Google__Protobuf__Duration *)b;
    _Static_assert(sizeof(Google__Protobuf__Duration) == sizeof(Google__Protobuf__Timestamp) &&
                       offsetof(Google__Protobuf__Duration, nanos) ==
                           offsetof(Google__Protobuf__Timestamp, nanos),
                   "same shape");
    return x->seconds != y->seconds ? ORDER(x->seconds, y->seconds) : ORDER(x->nanos, y->nanos);
}

static enum order order_of(ProtobufCType type, const void *a, const void *b)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return ORDER(*(const int32_t *)a, *(const int32_t *)b);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return ORDER(*(const uint32_t *)a, *(const uint32_t *)b);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return ORDER(*(const int64_t *)a, *(const int64_t *)b);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return ORDER(*(const uint64_t *)a, *(const uint64_t *)b);
    case PROTOBUF_C_TYPE_FLOAT:
        return ORDER(*(const float *)a, *(const float *)b);
    case PROTOBUF_C_TYPE_DOUBLE:
        return ORDER(*(const double *)a, *(const double *)b);
    case PROTOBUF_C_TYPE_MESSAGE:
        return order_time(*(ProtobufCMessage *const *)a, *(ProtobufCMessage *const *)b);
    default:
        CHECK(!"a type with an order");
        return UNORDERED;
    }
}

static void put_number(struct strbuf *why, ProtobufCType type, const void *v)
{
    const ProtobufCMessage *msg = type == PROTOBUF_C_TYPE_MESSAGE ? *(ProtobufCMessage *const *)v : NULL;
    const Google__Protobuf__Duration *d = (const Google__Protobuf__Duration *)msg;
    if (msg && proto_type_wkt(msg->descriptor) == WKT_TIMESTAMP)
        timestamp_format(why, d->seconds, d->nanos);
    else if (msg)
        duration_format(why, d->seconds, d->nanos);
    else if (type == PROTOBUF_C_TYPE_FLOAT)
        strbuf_addf(why, "%g", (double)*(const float *)v);
    else if (type == PROTOBUF_C_TYPE_DOUBLE)
        strbuf_addf(why, "%g", *(const double *)v);
    else if (type == PROTOBUF_C_TYPE_UINT64 || type == PROTOBUF_C_TYPE_FIXED64)
        strbuf_addu(why, *(const uint64_t *)v);
    else if (type == PROTOBUF_C_TYPE_UINT32 || type == PROTOBUF_C_TYPE_FIXED32)
        strbuf_addu(why, *(const uint32_t *)v);
    else if (proto_item_bytes(type) == 8)
        strbuf_addf(why, "%lld", (long long)*(const int64_t *)v);
    else
        strbuf_addf(why, "%d", *(const int32_t *)v);
}

struct number {
    const ProtobufCMessage *rules;
    ProtobufCType type;
    const void *value;
    struct strbuf *why;
};

/* The limit of that name where the rules have it. */
static const void *limit_of(const struct number *n, const char *name)
{
    const ProtobufCFieldDescriptor *f = proto_field_find(n->rules->descriptor, str_from(name));
    return f && proto_field_is_set(n->rules, f) ? proto_field_at(n->rules, f, 0) : NULL;
}

static bool broken(const struct number *n, const char *rule, const void *limit)
{
    strbuf_addf(n->why, "must be %s ", rule);
    put_number(n->why, n->type, limit);
    strbuf_addz(n->why, ", is ");
    put_number(n->why, n->type, n->value);
    return false;
}

static bool is_above(const struct number *n, const void *limit, bool or_equal)
{
    enum order order = order_of(n->type, n->value, limit);
    return order == MORE || (or_equal && order == EQUAL);
}

static bool is_below(const struct number *n, const void *limit, bool or_equal)
{
    enum order order = order_of(n->type, n->value, limit);
    return order == LESS || (or_equal && order == EQUAL);
}

static bool check_range(const struct number *n)
{
    const void *lt = limit_of(n, "lt"), *lte = limit_of(n, "lte"), *upper = lt ? lt : lte;
    const void *gt = limit_of(n, "gt"), *gte = limit_of(n, "gte"), *lower = gt ? gt : gte;
    bool below = !upper || is_below(n, upper, !lt), above = !lower || is_above(n, lower, !gt);
    if (upper && lower && order_of(n->type, lower, upper) == MORE) {
        if (below || above) /* limits that cross forbid what is between them */
            return true;
    }
    if (!above)
        return broken(n, gt ? "above" : "at least", lower);
    return below || broken(n, lt ? "below" : "at most", upper);
}

static bool check_list(const struct number *n, const char *name, bool wanted)
{
    const ProtobufCFieldDescriptor *f = proto_field_find(n->rules->descriptor, str_from(name));
    size_t count = f ? proto_field_count(n->rules, f) : 0;
    bool found = false;
    for (size_t i = 0; i < count && !found; i++)
        found = order_of(n->type, n->value, proto_field_at(n->rules, f, i)) == EQUAL;
    if (count == 0 || found == wanted)
        return true;
    strbuf_addz(n->why, wanted ? "must be one of" : "must be none of");
    for (size_t i = 0; i < count; i++) {
        strbuf_addz(n->why, i ? ", " : " ");
        put_number(n->why, n->type, proto_field_at(n->rules, f, i));
    }
    strbuf_addz(n->why, ", is ");
    put_number(n->why, n->type, n->value);
    return false;
}

/* Timestamps only: lt_now, gt_now, within. */
static bool check_now(const struct number *n)
{
    const Validate__TimestampRules *rules = (const Validate__TimestampRules *)n->rules;
    const Google__Protobuf__Timestamp *t = *(Google__Protobuf__Timestamp *const *)n->value;
    int64_t now = (int64_t)(clock_wall_us() / 1000000);
    if (rules->has_lt_now && rules->lt_now && t->seconds >= now)
        strbuf_addz(n->why, "must be in the past");
    else if (rules->has_gt_now && rules->gt_now && t->seconds <= now)
        strbuf_addz(n->why, "must be in the future");
    else if (rules->within && (t->seconds < now - rules->within->seconds ||
                               t->seconds > now + rules->within->seconds))
        strbuf_addz(n->why, "is too far from now");
    else
        return true;
    return false;
}

static bool is_ignored_zero(const struct number *n)
{
    static const char zeros[8];
    const ProtobufCFieldDescriptor *f = proto_field_find(n->rules->descriptor, STR("ignore_empty"));
    return f && proto_field_is_set(n->rules, f) &&
           *(const protobuf_c_boolean *)proto_field_at(n->rules, f, 0) &&
           memcmp(n->value, zeros, proto_item_bytes(n->type)) == 0;
}

bool rules_number(const ProtobufCMessage *rules, ProtobufCType type, const void *value,
                  struct strbuf *why)
{
    struct number n = {rules, type, value, why};
    const void *constant = limit_of(&n, "const");
    if (is_ignored_zero(&n))
        return true;
    if (constant && order_of(type, value, constant) != EQUAL)
        return broken(&n, "exactly", constant);
    if (!check_range(&n) || !check_list(&n, "in", true) || !check_list(&n, "not_in", false))
        return false;
    return strcmp(rules->descriptor->short_name, "TimestampRules") != 0 || check_now(&n);
}
