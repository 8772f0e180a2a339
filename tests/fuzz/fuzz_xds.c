/* SPDX-License-Identifier: Apache-2.0
 *
 * Responses of a management server, one after another on one stream, cut at 0xFF 0xFE: whatever they are, an answer is due for what
 * was taken or refused, and what is written of a message that could be read reads as the same again.
 */
#include <stdio.h>

#include "base/check.h"
#include "xds/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct xds_type types[] = {
    {"envoy.config.cluster.v3.Cluster", 1, true, false},
    {"envoy.config.endpoint.v3.ClusterLoadAssignment", 1, false, false},
    {"envoy.config.route.v3.VirtualHost", 1, false, true},
    {"istio.networking.nds.v1.NameTable", 0, false, false},
};

/* Takes every other resource. */
static void on_update(void *user, uint32_t type, const struct xds_update *u, struct err_list *faults)
{
    struct xds_client *c = *(struct xds_client **)user;
    char path[64];
    for (uint32_t i = 0; i < u->count; i++) {
        snprintf(path, sizeof path, "%.*s", (int)(u->items[i].name.n < 60 ? u->items[i].name.n : 60), u->items[i].name.p);
        if (i % 2)
            err_list_addf(faults, ERR_INVALID, path, "refused");
        else
            xds_client_want(c, 1, u->items[i].name);
    }
    for (uint32_t i = 0; i < u->removed_count; i++)
        xds_client_unwant(c, type, u->removed[i]);
}

static void on_error(void *user, uint32_t type, const struct xds_resource_error *e)
{
    (void)user, (void)type, (void)e;
}

static void check_message(bool is_delta, struct str packed)
{
    struct arena a;
    struct xds_response r;
    struct xds_request request;
    struct strbuf first = {0}, second = {0};
    arena_init(&a, (size_t)8 << 20);
    if (xds_response_read(&a, is_delta, packed, &r, NULL) == 0) {
        xds_response_write(&r, &first);
        CHECK(xds_response_read(&a, is_delta, strbuf_str(&first), &r, NULL) == 0);
        xds_response_write(&r, &second);
        CHECK(str_eq(strbuf_str(&first), strbuf_str(&second)));
    }
    (void)!xds_request_read(&a, is_delta, packed, &request, NULL);
    arena_fini(&a);
    strbuf_fini(&first);
    strbuf_fini(&second);
}

static void drain(struct xds_client *c, bool is_delta)
{
    struct strbuf out = {0};
    while (xds_client_next(c, &out)) {
        struct arena a;
        struct xds_request r;
        arena_init(&a, 0);
        CHECK(xds_request_read(&a, is_delta, strbuf_str(&out), &r, NULL) == 0);
        arena_fini(&a);
    }
    strbuf_fini(&out);
}

static void feed(struct xds_client *c, bool is_delta, struct str message, uint64_t now_us)
{
    struct err_list faults = {0};
    check_message(is_delta, message);
    enum xds_fed fed = xds_client_feed(c, message, now_us, &faults);
    if (fed == XDS_TAKEN || fed == XDS_REFUSED)
        CHECK(xds_client_pending(c) > 0);
    CHECK((fed == XDS_REFUSED || fed == XDS_BROKEN) == (faults.count > 0));
    if (now_us % 2)
        drain(c, is_delta);
    xds_client_expire(c, now_us * 1000);
    err_list_fini(&faults);
}

static void session(const uint8_t *data, size_t size, bool is_delta)
{
    static const struct xds_client_ops ops = {.on_update = on_update, .on_error = on_error};
    struct xds_client *c;
    const struct xds_client_opts opts = {.is_delta = is_delta, .keep_node = STR("\x0a\x01n"), .keep_types = types, .type_count = ARRAY_LEN(types)};
    c = xds_client_new(&opts, &ops, &c);
    xds_client_want(c, 0, STR("*"));
    xds_client_want(c, 1, STR("a"));
    xds_client_want(c, 2, STR("a"));
    xds_client_want(c, 3, STR(""));
    xds_client_connected(c);
    drain(c, is_delta);
    size_t begin = 0;
    uint64_t now_us = 1;
    for (size_t i = 0; i + 1 < size; i++)
        if (data[i] == 0xff && data[i + 1] == 0xfe) {
            feed(c, is_delta, str_make((const char *)data + begin, i - begin), now_us++);
            begin = i + 2;
        }
    feed(c, is_delta, str_make((const char *)data + begin, size - begin), now_us);
    xds_client_connected(c);
    drain(c, is_delta);
    xds_client_free(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > (size_t)1 << 16)
        return 0;
    session(data, size, false);
    session(data, size, true);
    return 0;
}
