/* SPDX-License-Identifier: Apache-2.0
 *
 * Load reports of upstreams (ORCA): xds.data.orca.v3.OrcaLoadReport in the headers endpoint-load-metrics
 * ("TEXT a=1,b=2", "JSON {…}", "BIN base64") and endpoint-load-metrics-bin. From one the weight of its
 * host follows: requests per second by utilization. Bytes are a peer's: what isn't understood is left
 * out, whole reports longer than the limit are not looked at. Any worker.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "proxy/lb/lb.h"

#define REPORT_MAX_BYTES 4096
#define MIN_WEIGHT 1

struct report {
    const struct lb_orca_spec *spec;
    double rps, eps, application, cpu, metric; /* metric: the greatest of those that the configuration names */
};

static bool is_named(const struct lb_orca_spec *spec, const char *map, struct str name)
{
    size_t n = strlen(map);
    for (uint32_t i = 0; i < spec->metric_count; i++) {
        struct str m = spec->metrics[i];
        if (m.n == n + name.n && !memcmp(m.p, map, n) && !memcmp(m.p + n, name.p, name.n))
            return true;
    }
    return false;
}

static void take(struct report *r, struct str name, double value)
{
    if (!isfinite(value))
        return;
    if (str_eq(name, STR("rps_fractional")) || (str_eq(name, STR("rps")) && r->rps <= 0))
        r->rps = value;
    else if (str_eq(name, STR("eps")))
        r->eps = value;
    else if (str_eq(name, STR("application_utilization")))
        r->application = value;
    else if (str_eq(name, STR("cpu_utilization")))
        r->cpu = value;
    if (is_named(r->spec, "", name) && value > r->metric)
        r->metric = value;
}

static void take_in(struct report *r, const char *map, struct str name, double value)
{
    if (isfinite(value) && is_named(r->spec, map, name) && value > r->metric)
        r->metric = value;
}

static bool number(struct str text, double *out)
{
    char copy[64], *end;
    text = str_trim(text);
    if (!text.n || text.n >= sizeof copy)
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    *out = strtod(copy, &end);
    return *end == 0;
}

/* ---- TEXT ---- */

static void read_text(struct report *r, struct str s)
{
    while (s.n) {
        ptrdiff_t comma = str_find_char(s, ',');
        struct str one = comma < 0 ? s : str_make(s.p, (size_t)comma);
        ptrdiff_t equals = str_find_char(one, '=');
        double value;
        if (equals > 0 && number(str_make(one.p + equals + 1, one.n - (size_t)equals - 1), &value))
            take(r, str_trim(str_make(one.p, (size_t)equals)), value);
        s = comma < 0 ? STR_NULL : str_make(s.p + comma + 1, s.n - (size_t)comma - 1);
    }
}

/* ---- JSON: an object of numbers and of objects of numbers; anything else ends the reading ---- */

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

static const char *json_name(const char *p, const char *end, struct str *name)
{
    if (p == end || *p != '"')
        return NULL;
    const char *from = ++p;
    while (p < end && *p != '"' && *p != '\\')
        p++;
    if (p == end || *p != '"')
        return NULL;
    *name = str_make(from, (size_t)(p - from));
    p = skip_space(p + 1, end);
    return p < end && *p == ':' ? skip_space(p + 1, end) : NULL;
}

/* Protobuf's JSON has names in both cases. */
static struct str plain(struct str name)
{
    static const struct { struct str camel, snake; } names[] = {
        {{"rpsFractional", 13}, {"rps_fractional", 14}},
        {{"applicationUtilization", 22}, {"application_utilization", 23}},
        {{"cpuUtilization", 14}, {"cpu_utilization", 15}},
        {{"memUtilization", 14}, {"mem_utilization", 15}},
        {{"namedMetrics", 12}, {"named_metrics", 13}},
        {{"requestCost", 11}, {"request_cost", 12}},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (str_eq(name, names[i].camel))
            return names[i].snake;
    return name;
}

static const char *map_prefix(struct str name)
{
    return str_eq(name, STR("named_metrics")) ? "named_metrics." : str_eq(name, STR("utilization")) ? "utilization." :
           str_eq(name, STR("request_cost")) ? "request_cost." : NULL;
}

static const char *json_object(struct report *r, const char *p, const char *end, const char *map, bool is_top)
{
    if (p == end || *p != '{')
        return NULL;
    for (p = skip_space(p + 1, end); p < end && *p != '}'; p = skip_space(p, end)) {
        struct str name;
        p = json_name(p, end, &name);
        if (!p || p == end)
            return NULL;
        name = is_top ? plain(name) : name;
        if (*p == '{') {
            p = is_top ? json_object(r, p, end, map_prefix(name), false) : NULL;
            if (!p)
                return NULL;
        } else {
            const char *from = p;
            double value;
            while (p < end && *p != ',' && *p != '}')
                p++;
            if (!number(str_make(from, (size_t)(p - from)), &value))
                return NULL;
            if (is_top)
                take(r, name, value);
            else if (map)
                take_in(r, map, name, value);
        }
        p = skip_space(p, end);
        if (p < end && *p == ',')
            p++;
    }
    return p < end ? p + 1 : NULL;
}

/* ---- BIN: Protobuf ---- */

struct wire {
    const uint8_t *p, *end;
    bool bad;
};

static uint64_t wire_varint(struct wire *w)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && w->p < w->end; shift += 7) {
        uint8_t b = *w->p++;
        v |= (uint64_t)(b & 127) << shift;
        if (!(b & 128))
            return v;
    }
    w->bad = true;
    return 0;
}

static double wire_double(struct wire *w)
{
    double v = 0;
    if (w->end - w->p < 8) {
        w->bad = true;
        return 0;
    }
    memcpy(&v, w->p, 8);
    w->p += 8;
    return v;
}

static struct wire wire_bytes(struct wire *w)
{
    uint64_t n = wire_varint(w);
    if (w->bad || n > (uint64_t)(w->end - w->p)) {
        w->bad = true;
        return (struct wire){w->end, w->end, true};
    }
    w->p += n;
    return (struct wire){w->p - n, w->p, false};
}

static void wire_skip(struct wire *w, unsigned type)
{
    if (type == 0)
        wire_varint(w);
    else if (type == 1)
        wire_double(w);
    else if (type == 2)
        wire_bytes(w);
    else if (type == 5 && w->end - w->p >= 4)
        w->p += 4;
    else
        w->bad = true;
}

static void wire_entry(struct report *r, struct wire w, const char *map)
{
    struct str name = STR("");
    double value = 0;
    while (w.p < w.end && !w.bad) {
        uint64_t tag = wire_varint(&w);
        if (tag == (1 << 3 | 2)) {
            struct wire text = wire_bytes(&w);
            name = str_make((const char *)text.p, (size_t)(text.end - text.p));
        } else if (tag == (2 << 3 | 1)) {
            value = wire_double(&w);
        } else {
            wire_skip(&w, tag & 7);
        }
    }
    if (!w.bad)
        take_in(r, map, name, value);
}

static void read_wire(struct report *r, const uint8_t *bytes, size_t n)
{
    static const char *const doubles[] = {[1] = "cpu_utilization", [2] = "mem_utilization", [6] = "rps_fractional", [7] = "eps",
                                          [9] = "application_utilization"};
    static const char *const maps[] = {[4] = "request_cost.", [5] = "utilization.", [8] = "named_metrics."};
    struct wire w = {bytes, bytes + n, false};
    while (w.p < w.end && !w.bad) {
        uint64_t tag = wire_varint(&w), field = tag >> 3;
        if ((tag & 7) == 1 && field < 10 && doubles[field])
            take(r, str_from(doubles[field]), wire_double(&w));
        else if ((tag & 7) == 2 && field < 9 && maps[field])
            wire_entry(r, wire_bytes(&w), maps[field]);
        else if (tag == (3 << 3 | 0))
            take(r, STR("rps"), (double)wire_varint(&w));
        else
            wire_skip(&w, tag & 7);
    }
}

static void read_base64(struct report *r, struct str s)
{
    struct arena a;
    struct str bytes;
    arena_init(&a, 0);
    if (b64_decode_in(&a, str_trim(s), &bytes))
        read_wire(r, (const uint8_t *)bytes.p, bytes.n);
    arena_fini(&a);
}

/* ---- weights ---- */

static uint32_t weight_of(const struct report *r)
{
    double used = r->metric > 0 ? r->metric : r->application > 0 ? r->application : r->cpu;
    if (r->rps <= 0)
        return 0;
    if (r->eps > 0 && r->spec->error_penalty > 0)
        used += r->eps / r->rps * r->spec->error_penalty;
    if (used <= 0)
        return 0;
    double weight = r->rps / used;
    return weight >= UINT32_MAX ? UINT32_MAX : weight < MIN_WEIGHT ? MIN_WEIGHT : (uint32_t)weight;
}

static bool read(struct report *r, const struct headers *headers)
{
    struct str text = headers_get(headers, STR("endpoint-load-metrics-bin"));
    if (text.n && text.n <= REPORT_MAX_BYTES) {
        read_base64(r, text);
        return true;
    }
    text = headers_get(headers, STR("endpoint-load-metrics"));
    if (!text.n || text.n > REPORT_MAX_BYTES)
        return false;
    struct str body = text.n > 5 ? str_make(text.p + 5, text.n - 5) : STR("");
    if (str_has_prefix(text, STR("TEXT ")))
        read_text(r, body);
    else if (str_has_prefix(text, STR("JSON ")))
        json_object(r, skip_space(body.p, body.p + body.n), body.p + body.n, NULL, true);
    else if (str_has_prefix(text, STR("BIN ")))
        read_base64(r, str_make(text.p + 4, text.n - 4));
    else
        return false;
    return true;
}

void lb_load_report(const struct lb_policy_spec *spec, struct host *h, const struct headers *headers, uint64_t now_ms)
{
    struct report r = {.spec = spec->orca};
    uint32_t weight = read(&r, headers) ? weight_of(&r) : 0;
    if (!weight)
        return;
    atomic_store_explicit(&h->reported_weight, weight, memory_order_relaxed);
    atomic_store_explicit(&h->reported_at_ms, now_ms, memory_order_relaxed);
    uint64_t never = 0;
    atomic_compare_exchange_strong_explicit(&h->reported_since_ms, &never, now_ms, memory_order_relaxed, memory_order_relaxed);
}
