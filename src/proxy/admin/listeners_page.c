/* SPDX-License-Identifier: Apache-2.0
 *
 * /listeners: the addresses that are listened on, as text and JSON. Main thread.
 */
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/json_out.h"
#include "proxy/listener/listener.h"

static void add_text(const struct listener_spec *spec, const struct addr *bound, uint32_t n, void *arg)
{
    struct strbuf *b = arg;
    char text[ADDR_TEXT_BYTES];
    for (uint32_t i = 0; i < n; i++) {
        strbuf_adds(b, spec->name);
        strbuf_addz(b, "::");
        strbuf_addz(b, addr_text(&bound[i], text));
        strbuf_addc(b, '\n');
    }
}

static void add_json(const struct listener_spec *spec, const struct addr *bound, uint32_t n, void *arg)
{
    struct json_out *j = arg;
    json_open(j, NULL, '{');
    json_str(j, "name", spec->name);
    if (n)
        admin_json_address(j, "local_address", &bound[0]);
    if (n > 1) {
        json_open(j, "additional_local_addresses", '[');
        for (uint32_t i = 1; i < n; i++)
            admin_json_address(j, NULL, &bound[i]);
        json_close(j, ']');
    }
    json_close(j, '}');
}

void page_listeners(struct admin_request *rq)
{
    struct listener_manager *m = rq->server->listeners;
    if (!admin_wants_json(rq)) {
        if (m)
            listener_manager_each(m, add_text, &rq->body);
        return;
    }
    struct json_out j = {.b = &rq->body};
    json_open(&j, NULL, '{');
    json_open(&j, "listener_statuses", '[');
    if (m)
        listener_manager_each(m, add_json, &j);
    json_close(&j, ']');
    json_close(&j, '}');
}
