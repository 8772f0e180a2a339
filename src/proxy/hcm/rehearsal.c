/* SPDX-License-Identifier: Apache-2.0
 *
 * Rehearsals (rehearsal.h). An exchange is set up as exchange_new does, on a connection that doesn't exist: no conn, no
 * stream, no timers, no place in any list, and a scope of statistics that nobody sees. ingress.c and decision.c then
 * do with it what they always do; where they answer, local_reply.c hands the answer to rehearsal_note. Filters never see
 * it. Main thread.
 */
#include "proxy/hcm/rehearsal.h"

#include "base/mem.h"
#include "proxy/hcm/exchange.h"

struct scratch { /* what an exchange refers to */
    struct hcm_config config;
    struct hcm_conn conn;
    struct downstream downstream;
    struct active_listener listener;
    struct exchange exchange;
    struct stat_scope *stats;
};

/* Counts go where nobody looks, and with the rehearsal. */
static struct stat_scope *unseen_scope(const struct stat_scope *like)
{
    uint32_t rows = like->table->count;
    struct stat_scope *s = mem_zalloc(sizeof(*s) + (stat_thread + 1) * sizeof(s->blocks[0]));
    struct stat_block *b = mem_zalloc(sizeof(*b));
    s->table = like->table;
    b->values = mem_zalloc(rows * sizeof(*b->values));
    b->touched = mem_zalloc((rows / 64 + 1) * sizeof(*b->touched));
    s->blocks[stat_thread] = b;
    return s;
}

static void unseen_scope_free(struct stat_scope *s)
{
    struct stat_block *b = s->blocks[stat_thread];
    mem_free(b->values);
    mem_free(b->touched);
    mem_free(b);
    mem_free(s);
}

void rehearsal_note(struct exchange *x, const struct outcome *o, unsigned status, struct str body, struct str details,
                    void (*edit)(struct headers *h, void *arg), void *arg)
{
    struct rehearsal *r = x->rehearsal;
    struct headers h;
    headers_init(&h, r->arena);
    if (edit)
        edit(&h, arg);
    r->answer = o;
    r->status = status;
    r->body = body;
    r->details = details.p ? details : str_from(o->details);
    r->location = headers_get_id(&h, HDR_LOCATION);
}

static void set_up(struct rehearsal *r, struct scratch *s)
{
    struct exchange *x = &s->exchange;
    s->config = *r->config;
    s->stats = s->config.stats = unseen_scope(r->config->stats);
    s->listener = (struct active_listener){.spec = r->listener, .worker = &r->server->workers[0]};
    s->downstream = (struct downstream){
        .worker = &r->server->workers[0], .listener = &s->listener, .chain = r->chain, .server_name = r->server_name};
    s->conn = (struct hcm_conn){.magic = HCM_CONN_MAGIC, .config = &s->config, .downstream = &s->downstream, .is_tls = r->is_tls};
    *x = (struct exchange){.magic = EXCHANGE_MAGIC, .hc = &s->conn, .config = &s->config, .rehearsal = r};
    x->loop = r->server->main_loop;
    x->arena = r->arena;
    x->request = r->request;
    x->random = r->random;
    x->body_limit_bytes = r->config->server.buffer_limit_bytes;
    x->request_end = true;
    x->info.has_protocol = true;
    x->info.protocol = HTTP_11;
    x->info.start_us = loop_now_us(x->loop);
    x->info.start_wall_us = loop_wall_us(x->loop);
    x->info.downstream_remote = x->info.downstream_direct_remote = r->remote;
    x->info.downstream_local = r->local;
    x->info.requested_server_name = r->server_name;
    x->info.filter_chain_name = r->chain->name;
    x->info.supposed_tls = r->is_tls;
    x->info.supposed_principal = r->principal;
}

bool rehearse(struct rehearsal *r)
{
    struct scratch *s = r->scratch = arena_zalloc(r->arena, sizeof(*s));
    if (!s)
        return false;
    set_up(r, s);
    r->x = &s->exchange;
    ingress_note_kind(r->x);
    if (ingress_shape(r->x))
        exchange_decision(r->x);
    return !r->arena->overflowed;
}

bool rehearsal_filter_is_off(const struct rehearsal *r, uint32_t index)
{
    return exchange_filter_is_off(r->x, index);
}

void rehearsal_end(struct rehearsal *r)
{
    struct scratch *s = r->scratch;
    if (!s)
        return;
    filter_state_fini(&s->exchange.info.filter_state);
    view_release(&s->exchange.here);
    exchange_release(&s->exchange);
    unseen_scope_free(s->stats);
    r->scratch = NULL;
}
