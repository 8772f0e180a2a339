/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests of a client, one after another on one stream, cut at 0xFF 0xFE, to a server whose world changes between them: whatever they
 * are, what is sent reads as a response, in which a name stands once, and nothing is left when the stream has ended.
 */
#include "base/check.h"
#include "base/map.h"
#include "xds/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct xds_served_type types[] = {
    {"envoy.config.cluster.v3.Cluster", true, false, false, 1, 4, 0},
    {"envoy.config.endpoint.v3.ClusterLoadAssignment", false, true, false, -1, 0, 0},
    {"envoy.config.route.v3.VirtualHost", false, true, true, -1, 0, 3},
};
struct state {
    struct xds_pool *pool;
    struct xds_set *sets[2]; /* everybody's of any type, in two parts */
};

static void set_world(struct state *s, uint64_t n)
{
    static const char *const names[] = {"a", "b", "a/x", "a/y", "c"};
    for (int p = 0; p < 2; p++) {
        struct xds_set_builder *b = xds_set_begin(s->pool, types[0].name, NULL);
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            if ((n >> i & 1) && (int)((n + i) % 2) == p)
                xds_set_put(b, str_from(names[i]), str_make((const char *)&n, 1));
        xds_set_unref(&s->sets[p]);
        s->sets[p] = xds_set_end(&b);
    }
}

static uint32_t on_parts(void *user, uint32_t type, const struct xds_names *names, struct xds_set *out[XDS_PARTS_MAX])
{
    const struct state *s = user;
    (void)type, (void)names;
    out[0] = s->sets[0];
    out[1] = s->sets[1];
    return 2;
}

static int on_node(void *user, struct str node, struct err *err)
{
    (void)user, (void)node, (void)err;
    return 0;
}

static void check_response(bool is_delta, struct buf *out, const struct xds_sent *sent)
{
    struct arena a;
    struct xds_response r;
    struct map *seen = map_new();
    size_t n = out->len;
    arena_init(&a, 0);
    CHECK(xds_response_read(&a, is_delta, str_make((const char *)buf_pullup(out, n), n), &r, NULL) == 0);
    CHECK(r.resource_count == sent->resources && r.nonce.n && r.type_url.n);
    for (uint32_t i = 0; is_delta && i < r.resource_count; i++)
        CHECK(!map_set(seen, r.resources[i].name, seen));
    for (uint32_t i = 0; i < r.removed_count; i++)
        CHECK(!map_set(seen, r.removed[i], seen));
    map_free(&seen);
    arena_fini(&a);
    buf_fini(out);
}

static void session(const uint8_t *data, size_t size, bool is_delta)
{
    static const struct xds_server_ops ops = {.parts = on_parts, .on_node = on_node};
    struct state state = {.pool = xds_pool_new(4096)};
    const struct xds_server_opts opts = {.is_delta = is_delta, .keep_pool = state.pool, .keep_types = types, .type_count = ARRAY_LEN(types),
                                         .names_max = 1000, .names_bytes_max = 100000};
    struct xds_server *s = xds_server_new(&opts, &ops, &state);
    struct buf out = BUF_INIT;
    struct xds_sent sent;
    bool is_over = false;
    for (size_t begin = 0, end; begin < size && !is_over; begin = end + 2) {
        for (end = begin; end < size && !(end + 1 < size && data[end] == 0xff && data[end + 1] == 0xfe); end++)
            ;
        set_world(&state, data[begin] + end);
        xds_server_touch(s, 7);
        is_over = xds_server_feed(s, str_make((const char *)data + begin, end - begin), begin, NULL) != 0;
        while (!is_over && xds_server_next(s, begin, &out, &sent))
            check_response(is_delta, &out, &sent);
    }
    xds_server_free(&s);
    xds_set_unref(&state.sets[0]);
    xds_set_unref(&state.sets[1]);
    xds_pool_trim(state.pool, UINT64_MAX);
    CHECK(!xds_pool_usage(state.pool).items && !xds_pool_usage(state.pool).sets && !xds_pool_usage(state.pool).name_lists);
    xds_pool_free(&state.pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > (size_t)1 << 16)
        return 0;
    session(data, size, false);
    session(data, size, true);
    return 0;
}
