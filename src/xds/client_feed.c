/* SPDX-License-Identifier: Apache-2.0
 *
 * A response on its way through: read, held against the protocol's rules, told to the owner without its heartbeats, and
 * answered. A response that breaks the rules as a whole is told to nobody and refused whole.
 */
#include "base/mem.h"
#include "xds/client_priv.h"

/* ---- answers ---- */

static struct str error_text(const struct err_list *faults, size_t before, struct strbuf *out)
{
    char line[ERR_PATH_BYTES + ERR_MESSAGE_BYTES + 2];
    static const char cut[] = "... (truncated)";
    for (size_t i = before; i < faults->count; i++) {
        if (i > before)
            strbuf_addz(out, "\n");
        strbuf_addz(out, err_format(&faults->items[i], line, sizeof line));
        if (out->n <= ERROR_DETAIL_BYTES)
            continue;
        out->n = ERROR_DETAIL_BYTES - sizeof cut;
        while (out->n && ((uint8_t)out->p[out->n] & 0xc0) == 0x80) /* not inside a character */
            out->n--;
        strbuf_addz(out, cut);
        break;
    }
    return strbuf_str(out);
}

static void add_answer(struct xds_client *c, struct type *t, struct str nonce, struct str error)
{
    struct answer *answer = mem_zalloc(sizeof *answer + nonce.n + error.n);
    char *text = (char *)(answer + 1);
    answer->nonce = str_make(text, nonce.n);
    if (nonce.n)
        memcpy(text, nonce.p, nonce.n);
    if (error.p) {
        answer->error = str_make(text + nonce.n, error.n);
        memcpy(text + nonce.n, error.p, error.n);
    }
    if (!c->opts.is_delta) /* the latest nonce is what counts */
        LIST_EACH(it, safe, &t->answers) {
            list_remove(it);
            mem_free(LIST_ENTRY(it, answer, node));
        }
    list_push_back(&t->answers, &answer->node);
    type_set_due(c, t);
}

static enum xds_fed settle(struct xds_client *c, struct type *t, struct str nonce, const struct err_list *faults, size_t before)
{
    struct strbuf text = {0};
    bool is_taken = faults->count == before && !faults->dropped;
    strbuf_reset(&t->nonce);
    strbuf_adds(&t->nonce, nonce);
    if (is_taken) {
        add_answer(c, t, nonce, STR_NULL);
        return XDS_TAKEN;
    }
    add_answer(c, t, nonce, error_text(faults, before, &text));
    strbuf_fini(&text);
    return XDS_REFUSED;
}

/* ---- heartbeats ---- */

bool is_heartbeat(const struct xds_client *c, const struct type *t, const struct xds_resource *r, struct str version)
{
    if (r->has_body || !r->has_ttl)
        return false;
    if (!c->opts.is_delta)
        return str_eq(version, strbuf_str(&t->version));
    const struct name *n = name_find(t, r->name);
    return n && n->version && str_eq(r->version, version_text(n->version));
}

/* Room for more names among those removed. */
static void reserve_removed(struct xds_response *r, struct arena *a)
{
    size_t n = r->removed_count;
    for (uint32_t i = 0; i < r->resource_count; i++)
        n += 1 + r->resources[i].alias_count;
    struct str *all = arena_alloc(a, n * sizeof *all);
    if (r->removed_count)
        memcpy(all, r->removed, r->removed_count * sizeof *all);
    r->removed = all;
}

/* Of namespaced types: what the server says of names that it has nothing for. They count as removed, aliases too. */
static void take_unknown(struct xds_response *r, const struct xds_resource *one)
{
    r->removed[r->removed_count++] = one->name;
    for (uint32_t i = 0; i < one->alias_count; i++)
        if (!str_eq(one->aliases[i], one->name))
            r->removed[r->removed_count++] = one->aliases[i];
}

/* Splits off heartbeats: they only move the time. What has neither content nor a known version is at fault. */
static uint32_t take_heartbeats(struct xds_client *c, struct type *t, struct xds_response *r, struct xds_resource *items, struct arena *a,
                                uint64_t now_us, struct err_list *faults)
{
    uint32_t n = 0;
    bool has_unknown = false;
    for (uint32_t i = 0; i < r->resource_count; i++) {
        const struct xds_resource *one = &r->resources[i];
        if (is_heartbeat(c, t, one, r->version)) {
            struct name *known = name_find(t, one->name);
            if (known)
                name_set_ttl(t, known, now_us + one->ttl_us);
        } else if (!one->has_body && c->opts.is_delta && t->desc->is_namespaced) {
            if (!has_unknown)
                reserve_removed(r, a);
            has_unknown = true;
            take_unknown(r, one);
        } else if (!one->has_body) {
            err_list_addf(faults, ERR_INVALID, "", "\"%.*s\": a resource without content whose version isn't the one there is",
                          STR_ARG(one->name));
        } else {
            items[n++] = *one;
        }
    }
    return n;
}

/* ---- responses ---- */

/* Nobody wants the type any more. Nothing in it is what we wait for; else it shows that the server should stop (as Envoy). */
static enum xds_fed ignore(struct xds_client *c, struct type *t, const struct xds_response *r)
{
    strbuf_reset(&t->nonce);
    strbuf_adds(&t->nonce, r->nonce);
    if (c->opts.is_delta)
        add_answer(c, t, r->nonce, STR_NULL);
    else if (r->resource_count)
        type_set_due(c, t); /* with the version before: not taken */
    else
        sotw_settle(t, r, 0, true);
    return XDS_IGNORED;
}

/* `items` are r's without heartbeats. Where there were some, what isn't among the items isn't gone. */
static void tell(struct xds_client *c, struct type *t, const struct xds_response *r, const struct xds_resource *items, uint32_t count,
                 struct err_list *faults)
{
    struct xds_update u = {
        .items = items, .count = count, .removed = r->removed, .removed_count = r->removed_count, .version = r->version,
        .is_whole = !c->opts.is_delta && t->desc->is_whole && count == r->resource_count};
    t->held++; /* what on_update wants and unwants goes with the answer */
    if (count || r->removed_count || !r->resource_count)
        c->ops->on_update(c->user, (uint32_t)(t - c->types), &u, faults);
    t->held--;
}

static enum xds_fed take(struct xds_client *c, struct type *t, struct xds_response *r, struct arena *a, uint64_t now_us, struct err_list *faults)
{
    size_t before = faults->count;
    if (!xds_client_wants(c, (uint32_t)(t - c->types)))
        return ignore(c, t, r);
    if (c->opts.is_delta)
        delta_check(t, r, faults);
    else
        sotw_check(t, r, faults);
    struct xds_resource *items = arena_alloc(a, r->resource_count * sizeof *items);
    uint32_t count = 0;
    if (faults->count == before)
        count = take_heartbeats(c, t, r, items, a, now_us, faults);
    if (faults->count > before)
        return settle(c, t, r->nonce, faults, before);
    tell(c, t, r, items, count, faults);
    r->resources = items;
    r->resource_count = count;
    if (c->opts.is_delta)
        delta_settle(t, r, now_us, faults, before);
    else
        sotw_settle(t, r, now_us, faults->count == before);
    return settle(c, t, r->nonce, faults, before);
}

/* A stream, file or poll of one type needn't repeat it. */
static struct type *only_type(struct xds_client *c)
{
    struct type *only = NULL;
    for (uint32_t i = 0; i < c->opts.type_count; i++) {
        if (xds_client_wants(c, i) && only)
            return NULL;
        if (xds_client_wants(c, i))
            only = &c->types[i];
    }
    return only;
}

static struct type *find_type(struct xds_client *c, struct str url)
{
    if (!url.n)
        return only_type(c);
    for (uint32_t i = 0; i < c->opts.type_count; i++)
        if (str_has_suffix(url, str_from(c->types[i].desc->name))) {
            size_t head = url.n - strlen(c->types[i].desc->name);
            if (head == 0 || url.p[head - 1] == '/')
                return &c->types[i];
        }
    return NULL;
}

static void note_peer(struct xds_client *c, const struct xds_response *r)
{
    if (!r->control_plane.n || str_eq(r->control_plane, strbuf_str(&c->control_plane)))
        return;
    strbuf_reset(&c->control_plane);
    strbuf_adds(&c->control_plane, r->control_plane);
}

enum xds_fed xds_client_feed(struct xds_client *c, struct str message, uint64_t now_us, struct err_list *faults)
{
    struct arena a;
    struct err err = {0};
    struct xds_response r;
    arena_init(&a, 0);
    if (xds_response_read(&a, c->opts.is_delta, message, &r, &err)) {
        err_list_add(faults, &err);
        arena_fini(&a);
        return XDS_BROKEN;
    }
    note_peer(c, &r);
    struct type *t = find_type(c, r.type_url);
    enum xds_fed fed = t ? take(c, t, &r, &a, now_us, faults) : XDS_IGNORED;
    for (uint32_t i = 0; t && c->ops->on_error && i < r.error_count; i++)
        c->ops->on_error(c->user, (uint32_t)(t - c->types), &r.errors[i]);
    arena_fini(&a);
    return fed;
}

/* ---- times to live ---- */

uint64_t xds_client_expiry_us(const struct xds_client *c)
{
    uint64_t soonest = 0;
    for (uint32_t i = 0; i < c->opts.type_count; i++) {
        const struct list *mortals = &c->types[i].mortals;
        for (const struct list *it = mortals->next; it != mortals; it = it->next) {
            uint64_t at = LIST_ENTRY((struct list *)(uintptr_t)it, name, ttl)->expires_us;
            if (!soonest || at < soonest)
                soonest = at;
        }
    }
    return soonest;
}

static void expire_type(struct xds_client *c, struct type *t, uint64_t now_us)
{
    struct arena a;
    struct err_list faults = {0};
    struct xds_update u = {.version = strbuf_str(&t->version)};
    struct str *removed = NULL;
    arena_init(&a, 0);
    LIST_EACH(it, safe, &t->mortals) {
        struct name *n = LIST_ENTRY(it, name, ttl);
        if (n->expires_us > now_us)
            continue;
        if (!removed)
            removed = arena_alloc(&a, map_count(t->by_name) * sizeof *removed);
        removed[u.removed_count++] = arena_str(&a, str_make(n->text, n->n));
        version_unref(&n->version);
        name_set_ttl(t, n, 0);
        if (!n->is_wanted && list_is_empty(&n->due))
            name_forget(t, n);
    }
    u.removed = removed;
    if (u.removed_count)
        c->ops->on_update(c->user, (uint32_t)(t - c->types), &u, &faults);
    err_list_fini(&faults);
    arena_fini(&a);
}

void xds_client_expire(struct xds_client *c, uint64_t now_us)
{
    for (uint32_t i = 0; i < c->opts.type_count; i++)
        expire_type(c, &c->types[i], now_us);
}
