/* SPDX-License-Identifier: Apache-2.0
 *
 * POST /explain: reads the question (JSON body, form values, query), answers as text, or as JSON where format=json or the
 * Accept header asks for it. Only looks: it changes nothing and counts nothing. Main thread.
 */
#include "base/mem.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/json_out.h"
#include "proxy/explain/explain.h"

static void list_json(struct json_out *j, const char *key, const struct explain_list *l, const char *name, const char *text)
{
    json_open(j, key, '[');
    for (uint32_t i = 0; i < l->count; i++) {
        json_open(j, NULL, '{');
        json_str(j, name, l->items[i].name);
        json_str(j, text, l->items[i].text);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void left_out_json(struct json_out *j, const char *key, uint32_t n)
{
    if (n)
        json_uint(j, key, n);
}

static void verdict_json(struct json_out *j, const struct explain_report *r)
{
    char flags[512];
    json_open(j, "verdict", '{');
    json_str(j, "text", r->verdict);
    if (r->status)
        json_uint(j, "status", r->status);
    if (r->grpc_status >= 0)
        json_uint(j, "grpc_status", (uint64_t)r->grpc_status);
    if (r->flags)
        json_str(j, "flags", str_make(flags, response_flags_format(r->flags, false, flags, sizeof(flags))));
    if (r->details.n)
        json_str(j, "details", r->details);
    if (r->location.n)
        json_str(j, "location", r->location);
    json_close(j, '}');
    list_json(j, "notes", &r->warnings, "of", "text");
}

static void connection_json(struct json_out *j, const struct explain_report *r)
{
    char text[ADDR_TEXT_BYTES];
    json_str(j, "source", str_from(addr_text(&r->source, text)));
    json_str(j, "destination", str_from(addr_text(&r->destination, text)));
    json_open(j, "listener", '{');
    if (r->listener) {
        json_str(j, "name", r->listener->name);
        json_str(j, "why", r->listener_why);
    }
    list_json(j, "others", &r->listeners, "name", "why_not");
    left_out_json(j, "others_left_out", r->listeners.left_out);
    json_close(j, '}');
    json_open(j, "filter_chain", '{');
    if (r->chain) {
        json_str(j, "name", r->chain_name);
        json_str(j, "why", r->chain_why);
        json_str(j, "network_filter", r->network_filter);
        if (r->prologue.count)
            list_json(j, "filters", &r->prologue, "name", "says");
    }
    list_json(j, "others", &r->chains, "name", "why_not");
    left_out_json(j, "others_left_out", r->chains.left_out);
    json_close(j, '}');
    if (r->hcm)
        list_json(j, "request_changes", &r->shaped, "header", "change");
}

static void virtual_host_json(struct json_out *j, const struct explain_report *r)
{
    if (r->scope.n)
        json_str(j, "scope", r->scope);
    json_str(j, "route_config", r->route_config);
    json_open(j, "virtual_host", '{');
    json_str(j, "asked_for", r->host);
    if (r->decision->vhost) {
        json_str(j, "name", r->decision->vhost->name);
        json_str(j, "found_by", r->domain);
    }
    list_json(j, "others", &r->near, "domain", "why_not");
    left_out_json(j, "others_left_out", r->near.left_out);
    json_close(j, '}');
}

static void refused_json(struct json_out *j, const struct explain_report *r)
{
    json_open(j, "refused", '[');
    for (uint32_t i = 0; i < r->refused_shown; i++) {
        const struct explain_refused *f = &r->refused[i];
        json_open(j, NULL, '{');
        json_uint(j, "index", f->index);
        json_str(j, "name", f->name);
        json_str(j, "part", f->part);
        json_str(j, "wants", f->wanted);
        json_str(j, "has", f->seen);
        json_close(j, '}');
    }
    json_close(j, ']');
    json_uint(j, "refused_total", r->refused_total);
    if (r->refused_parts.count)
        list_json(j, "refused_by", &r->refused_parts, "part", "routes");
}

static void route_json(struct json_out *j, const struct explain_report *r)
{
    const struct route_entry *e = r->decision->route;
    struct strbuf path = {0};
    json_open(j, "route", '{');
    if (e) {
        route_match_path_text(&e->match, &path);
        json_uint(j, "index", r->route_index);
        json_str(j, "name", e->name);
        json_str(j, "path", strbuf_str(&path));
        strbuf_fini(&path);
    }
    json_uint(j, "of", r->route_count);
    refused_json(j, r);
    json_open(j, "says", '{');
    for (uint32_t i = 0; i < r->says.count; i++)
        json_str(j, arena_str(r->arena, r->says.items[i].name).p, r->says.items[i].text);
    json_close(j, '}');
    if (r->shares.count)
        list_json(j, "shares", &r->shares, "cluster", "share");
    list_json(j, "header_changes", &r->edits, "header", "change");
    if (r->decision->cluster_name.n)
        json_str(j, "cluster", r->decision->cluster_name);
    json_close(j, '}');
}

static void filters_json(struct json_out *j, const struct explain_report *r)
{
    json_open(j, "filters", '[');
    for (uint32_t i = 0; i < r->filter_count; i++) {
        const struct explain_filter *f = &r->filters[i];
        json_open(j, NULL, '{');
        json_str(j, "name", f->name);
        json_str(j, "kind", str_from(f->kind));
        json_bool(j, "runs", !f->is_off);
        if (f->why.n)
            json_str(j, "why", f->why);
        json_open(j, "settings_of", '[');
        for (uint32_t k = 0; k < f->level_count; k++)
            json_str(j, NULL, str_from(f->levels[k]));
        json_close(j, ']');
        if (f->effect)
            json_str(j, "effect", str_from(f->effect));
        if (f->answer)
            json_uint(j, "answers", f->status);
        if (f->says.count) {
            json_open(j, "says", '[');
            for (uint32_t k = 0; k < f->says.count; k++)
                json_str(j, NULL, f->says.items[k].text);
            json_close(j, ']');
        }
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void breakers_json(struct json_out *j, const struct explain_cluster *c)
{
    static const char *const names[ROUTING_PRIORITIES] = {"default", "high"};
    json_open(j, "circuit_breakers", '{');
    for (unsigned p = 0; p < ROUTING_PRIORITIES; p++) {
        json_open(j, names[p], '{');
        for (int i = 0; i < EXPLAIN_BREAKERS; i++) {
            json_open(j, c->breakers[p][i].name, '{');
            json_uint(j, "used", c->breakers[p][i].used);
            json_uint(j, "limit", c->breakers[p][i].limit);
            json_close(j, '}');
        }
        json_close(j, '}');
    }
    json_close(j, '}');
}

static void endpoint_json(struct json_out *j, const struct explain_host *h)
{
    json_open(j, NULL, '{');
    json_str(j, "address", h->address);
    if (h->hostname.n)
        json_str(j, "hostname", h->hostname);
    json_bool(j, "stands_by", h->stands_by);
    json_str(j, "transport", h->is_tls ? STR("tls") : STR("raw"));
    json_str(j, "health", h->health);
    if (h->ejection.n)
        json_str(j, "ejection", h->ejection);
    if (h->locality.n)
        json_str(j, "locality", h->locality);
    json_uint(j, "weight", h->weight);
    json_uint(j, "priority", h->priority);
    json_uint(j, "requests", h->active);
    json_uint(j, "connections", h->connections);
    json_uint(j, "successes", h->successes);
    json_uint(j, "errors", h->errors);
    json_close(j, '}');
}

static void priorities_json(struct json_out *j, const struct explain_cluster *c)
{
    json_open(j, "priorities", '[');
    for (uint32_t i = 0; i < c->priority_count; i++) {
        const struct explain_priority *p = &c->priorities[i];
        json_open(j, NULL, '{');
        json_uint(j, "endpoints", p->total);
        json_uint(j, "healthy", p->healthy);
        json_uint(j, "degraded", p->degraded);
        json_uint(j, "excluded", p->excluded);
        json_uint(j, "load_percent", p->load_pct);
        json_bool(j, "panic", p->panic);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void cluster_json(struct json_out *j, const struct explain_report *r)
{
    const struct explain_cluster *c = r->cluster;
    if (!c)
        return;
    json_open(j, "cluster", '{');
    json_str(j, "name", c->name);
    json_str(j, "type", str_from(c->type));
    json_str(j, "policy", str_from(c->policy));
    if (c->child)
        json_str(j, "child_policy", str_from(c->child));
    list_json(j, "facts", &c->facts, "name", "value");
    priorities_json(j, c);
    breakers_json(j, c);
    json_uint(j, "endpoint_count", c->total);
    json_uint(j, "stand_by", c->stand_by);
    json_open(j, "endpoints", '[');
    for (uint32_t i = 0; i < c->host_count; i++)
        endpoint_json(j, &c->hosts[i]);
    json_close(j, ']');
    left_out_json(j, "endpoints_left_out", c->hosts_left_out);
    json_close(j, '}');
}

static void report_json(struct strbuf *b, const struct explain_report *r)
{
    struct json_out j = {.b = b};
    json_open(&j, NULL, '{');
    verdict_json(&j, r);
    connection_json(&j, r);
    if (r->decision) {
        virtual_host_json(&j, r);
        route_json(&j, r);
        filters_json(&j, r);
        cluster_json(&j, r);
    }
    json_close(&j, '}');
}

/* ---- the question ---- */

static int read_values(struct explain_request *q, struct str rest, struct arena *a, struct err *err)
{
    char *key, *value;
    int rc = 0;
    while (rc == 0 && rest.n && admin_params_next(&rest, &key, &value)) {
        if (*key && !str_eq(str_from(key), STR("format")))
            rc = explain_read_field(q, str_from(key), str_from(value), a, err);
        mem_free(key);
        mem_free(value);
    }
    return rc;
}

static int read_question(const struct admin_request *rq, struct explain_request *q, struct arena *a, struct err *err)
{
    if (rq->body_bytes > ADMIN_FORM_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "a question of %llu bytes is longer than %d", (unsigned long long)rq->body_bytes, ADMIN_FORM_MAX_BYTES);
    struct str body = str_trim(rq->form);
    bool is_json = body.n && body.p[0] == '{'; /* whatever its type says: curl -d calls everything form values */
    if (read_values(q, rq->query, a, err) < 0 || (is_json ? explain_read_json(q, body, a, err) : read_values(q, body, a, err)) < 0)
        return ERR_INVALID;
    return explain_request_settle(q, a, err);
}

void page_explain(struct admin_request *rq)
{
    struct arena a;
    struct err err = {0};
    struct explain_report report;
    arena_init(&a, EXPLAIN_ARENA_BYTES);
    struct explain_request *q = arena_zalloc(&a, sizeof(*q));
    if (read_question(rq, q, &a, &err) < 0) {
        char line[512];
        admin_refuse(rq, 400, "%s\n", err_format(&err, line, sizeof(line)));
        arena_fini(&a);
        return;
    }
    explain_request(&report, rq->server, q, &a);
    if (admin_wants_json(rq) || rq->accepts_json) {
        rq->content_type = "application/json";
        report_json(&rq->body, &report);
    } else {
        explain_text(&report, &rq->body);
    }
    explain_end(&report);
    arena_fini(&a);
}
