/* SPDX-License-Identifier: Apache-2.0
 *
 * A server over a small world: resources are letters with a number ("a1 b1"), in one part or several ("a1|b1"). Requests are
 * written and responses read as short lines:
 *
 *     "cds 1: a1 b1 -c"    the nonce, resources with their numbers, removed ones
 */
#ifndef UNIT_XDS_WORLD_H
#define UNIT_XDS_WORLD_H

#include "base/mem.h"
#include "xds/server.h"

#include "../unit.h"

enum { W_CDS, W_EDS, W_LDS, W_VHDS, W_TYPES };
static const struct xds_served_type world_types[W_TYPES] = {
    {"envoy.config.cluster.v3.Cluster", true, false, false, W_EDS, 1u << W_LDS, 0},
    {"envoy.config.endpoint.v3.ClusterLoadAssignment", false, true, false, -1, 0, 0},
    {"envoy.config.listener.v3.Listener", true, false, false, -1, 0, 1u << W_CDS | 1u << W_EDS},
    {"envoy.config.route.v3.VirtualHost", false, true, true, -1, 0, 0},
};
static const char *const world_short[W_TYPES] = {"cds", "eds", "lds", "vhds"};

struct world {
    struct xds_pool *pool;
    struct xds_set *parts[W_TYPES][XDS_PARTS_MAX];
    uint32_t counts[W_TYPES];
    uint32_t asked; /* times parts were asked for */
};
struct talk {
    struct world *world;
    struct xds_server *server;
    struct strbuf line, answers;
    bool is_delta;
    struct err err;
    struct xds_sent sent;
};

static inline void world_init(struct world *w)
{
    *w = (struct world){.pool = xds_pool_new(1 << 20)};
}

/* A message with its name in field 1, as clients expect, and its number. */
static inline void world_put(struct xds_set_builder *b, const char *text)
{
    xds_set_put(b, str_make(text, 1), str_make((char[]){0x0a, 1, text[0], 0x10, (char)(text[1] - '0')}, 5));
}

/* "a1 b2|c1": what there is from now on. */
static inline void world_set(struct world *w, int type, const char *text)
{
    struct str rest = str_from(text);
    for (uint32_t i = 0; i < XDS_PARTS_MAX; i++) {
        struct str part = rest.p ? str_split(rest, '|', &rest) : STR_NULL;
        struct xds_set_builder *b = xds_set_begin(w->pool, world_types[type].name, NULL);
        for (size_t at = 0; at + 1 < part.n; at += 3)
            world_put(b, part.p + at);
        xds_set_unref(&w->parts[type][i]);
        w->parts[type][i] = xds_set_end(&b);
        if (part.p)
            w->counts[type] = i + 1;
        if (!xds_set_count(w->parts[type][i]))
            xds_set_unref(&w->parts[type][i]);
    }
}

static inline void world_fini(struct world *w)
{
    for (int t = 0; t < W_TYPES; t++)
        for (int i = 0; i < XDS_PARTS_MAX; i++)
            xds_set_unref(&w->parts[t][i]);
    xds_pool_free(&w->pool);
}

static uint32_t world_parts(void *user, uint32_t type, const struct xds_names *names, struct xds_set *out[XDS_PARTS_MAX])
{
    struct talk *t = user;
    (void)names;
    t->world->asked++;
    memcpy(out, t->world->parts[type], sizeof t->world->parts[type]);
    return t->world->counts[type];
}

static int world_on_node(void *user, struct str node, struct err *err)
{
    (void)user;
    return node.n == 1 && node.p[0] == '!' ? err_set(err, ERR_INVALID, "who are you") : 0;
}

static void world_on_answer(void *user, uint32_t type, const struct xds_answer *a)
{
    struct talk *t = user;
    strbuf_addf(&t->answers, "%s%s %s%llu%s%.*s", t->answers.n ? "; " : "", world_short[type], a->is_ack ? "ack " : "nack ",
                (unsigned long long)a->nonce, a->message.n ? " " : "", STR_ARG(a->message));
}

static void world_on_other(void *user, const struct xds_request *r)
{
    struct talk *t = user;
    strbuf_addf(&t->answers, "%s?%.*s", t->answers.n ? "; " : "", STR_ARG(r->type_url));
}

static const struct xds_server_ops world_ops = {world_parts, world_on_node, world_on_answer, world_on_other};

static inline void talk_begin(struct talk *t, struct world *w, bool is_delta)
{
    const struct xds_server_opts opts = {.is_delta = is_delta, .keep_pool = w->pool, .keep_types = world_types, .type_count = W_TYPES,
                                         .names_max = 100, .names_bytes_max = 10000};
    *t = (struct talk){.world = w, .is_delta = is_delta};
    t->server = xds_server_new(&opts, &world_ops, t);
}

static inline void talk_end(struct talk *t)
{
    xds_server_free(&t->server);
    strbuf_fini(&t->line);
    strbuf_fini(&t->answers);
}

/* "cds node n=1 !text +a -b a=1 v=1": a request's parts in any order. */
static inline int talk_say(struct talk *t, const char *text)
{
    struct str names[64], unsubscribed[64], rest = str_from(text), word = str_split(rest, ' ', &rest);
    struct xds_versioned initial[64];
    char url[128], versions[64][17];
    struct xds_request r = {.is_delta = t->is_delta, .names = names, .unsubscribed = unsubscribed, .initial_versions = initial};
    snprintf(url, sizeof url, "type.googleapis.com/%.*s", STR_ARG(word));
    for (int i = 0; i < W_TYPES; i++)
        if (str_eq(word, str_from(world_short[i])))
            snprintf(url, sizeof url, "type.googleapis.com/%s", world_types[i].name);
    r.type_url = str_from(url);
    while (rest.p) {
        word = str_split(rest, ' ', &rest);
        struct str value = str_make(word.p + 1, word.n - 1);
        if (str_eq(word, STR("node")))
            r.has_node = true, r.node = STR("me");
        else if (str_eq(word, STR("stranger")))
            r.has_node = true, r.node = STR("!");
        else if (word.p[0] == 'n' && word.n > 1 && word.p[1] == '=')
            r.nonce = str_make(word.p + 2, word.n - 2);
        else if (word.p[0] == '+')
            names[r.name_count++] = value;
        else if (word.p[0] == '-')
            unsubscribed[r.unsubscribed_count++] = value;
        else if (word.p[0] == '!')
            r.has_error = true, r.error_code = 13, r.error_message = value;
        else { /* "a1": it has version 1 of a; "a?": one that isn't ours */
            struct xds_item item = {.version = 0};
            struct xds_set_builder *b = xds_set_begin(t->world->pool, world_types[0].name, NULL);
            world_put(b, word.p);
            struct xds_set *s = xds_set_end(&b);
            xds_set_find(s, str_make(word.p, 1), &item);
            snprintf(versions[r.initial_count], 17, "%016llx", (unsigned long long)item.version);
            xds_set_unref(&s);
            initial[r.initial_count] = (struct xds_versioned){str_make(word.p, 1), str_make(versions[r.initial_count], 16)};
            if (word.p[1] == '?')
                initial[r.initial_count].version = STR("2026-01-01/7");
            r.initial_count++;
        }
    }
    struct strbuf packed = {0};
    xds_request_write(&r, &packed);
    strbuf_reset(&t->answers);
    int rc = xds_server_feed(t->server, strbuf_str(&packed), 1000, &t->err);
    strbuf_fini(&packed);
    return rc;
}

/* The next response; "" none. */
static inline const char *talk_hear(struct talk *t)
{
    struct buf out = BUF_INIT;
    struct xds_response r;
    struct arena a;
    struct err err = {0};
    strbuf_reset(&t->line);
    strbuf_addz(&t->line, "");
    if (!xds_server_next(t->server, 1000, &out, &t->sent))
        return "";
    arena_init(&a, 0);
    size_t n = out.len;
    const char *p = (const char *)buf_pullup(&out, n);
    assert_int_equal(xds_response_read(&a, t->is_delta, str_make(p, n), &r, &err), 0);
    assert_int_equal(r.resource_count, t->sent.resources);
    assert_int_equal(r.version.n, 16);
    strbuf_addf(&t->line, "%s %.*s:", world_short[t->sent.type], STR_ARG(r.nonce));
    for (uint32_t i = 0; i < r.resource_count; i++) {
        const struct xds_resource *one = &r.resources[i];
        assert_true(str_has_suffix(one->type_url, str_from(world_types[t->sent.type].name)));
        assert_int_equal(one->packed.n, 5);
        if (t->is_delta)
            assert_true(str_has_suffix(one->name, str_make(one->packed.p + 2, 1)));
        strbuf_addf(&t->line, " %c%d", one->packed.p[2], one->packed.p[4]);
    }
    for (uint32_t i = 0; i < r.removed_count; i++)
        strbuf_addf(&t->line, " -%.*s", STR_ARG(r.removed[i]));
    arena_fini(&a);
    buf_fini(&out);
    return t->line.p;
}

#endif
