/* SPDX-License-Identifier: Apache-2.0
 *
 * /config_dump, and /unsupported: the fields that --allow-unsupported let pass, which this proxy
 * does not act on. Main thread.
 */
#include "proxy/config/dump.h"

#include "base/mem.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/json_out.h"

void page_config_dump(struct admin_request *rq)
{
    char *resource = admin_param(rq, "resource"), *mask = admin_param(rq, "mask");
    char *regex = admin_param(rq, "name_regex");
    struct err err = {0};
    rq->content_type = "application/json";
    int rc = config_dump_json(rq->server, str_from(resource), str_from(mask), str_from(regex),
                              admin_param_is_set(rq, "include_eds"), &rq->body, &err);
    if (rc == ERR_NOT_FOUND)
        admin_refuse(rq, 404, "%s not found in config dump", resource ? resource : "");
    else if (rc < 0)
        admin_refuse(rq, 400, "%s", err.message);
    if (rc < 0)
        rq->content_type = "text/plain";
    mem_free(resource);
    mem_free(mask);
    mem_free(regex);
}

static void unsupported_text(struct strbuf *b, const struct err_list *l)
{
    char line[ERR_MESSAGE_BYTES + ERR_PATH_BYTES + 4];
    for (size_t i = 0; i < l->count; i++) {
        strbuf_addz(b, err_format(&l->items[i], line, sizeof(line)));
        strbuf_addc(b, '\n');
    }
    if (l->dropped)
        strbuf_addf(b, "... and %zu more\n", l->dropped);
}

static void unsupported_json(struct strbuf *b, const struct err_list *l)
{
    struct json_out j = {.b = b};
    json_open(&j, NULL, '{');
    json_open(&j, "unsupported", '[');
    for (size_t i = 0; i < l->count; i++) {
        json_open(&j, NULL, '{');
        json_str(&j, "path", str_from(l->items[i].path));
        json_str(&j, "message", str_from(l->items[i].message));
        json_close(&j, '}');
    }
    json_close(&j, ']');
    if (l->dropped)
        json_uint(&j, "left_out", l->dropped);
    json_close(&j, '}');
}

void page_unsupported(struct admin_request *rq)
{
    if (admin_wants_json(rq))
        unsupported_json(&rq->body, rq->server->unsupported);
    else
        unsupported_text(&rq->body, rq->server->unsupported);
}
