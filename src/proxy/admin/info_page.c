/* SPDX-License-Identifier: Apache-2.0
 *
 * /server_info, /ready and /memory. Main thread.
 */
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/json_out.h"

static const char *const state_names[] = {
    [SERVER_LIVE] = "LIVE",
    [SERVER_DRAINING] = "DRAINING",
    [SERVER_PRE_INITIALIZING] = "PRE_INITIALIZING",
    [SERVER_INITIALIZING] = "INITIALIZING",
};

static const char *state_of(const struct server *s)
{
    int state = atomic_load_explicit(&s->state, memory_order_relaxed);
    /* As in Envoy, /healthcheck/fail alone makes a live server one that drains. */
    if (state == SERVER_LIVE && atomic_load_explicit(&s->healthcheck_failed, memory_order_relaxed))
        state = SERVER_DRAINING;
    return state_names[state];
}

void page_ready(struct admin_request *rq)
{
    const char *state = state_of(rq->server);
    rq->status = state == state_names[SERVER_LIVE] ? 200 : 503;
    strbuf_addf(&rq->body, "%s\n", state);
}

static void add_seconds(struct json_out *j, const char *key, uint64_t seconds)
{
    char text[24];
    size_t n = u64_format(seconds, text);
    text[n++] = 's';
    json_str(j, key, str_make(text, n));
}

static struct str whole(struct str s) /* the null str as "" */
{
    return s.p ? s : STR("");
}

static void add_options(struct json_out *j, const struct server_opts *o)
{
    static const char *const modes[] = {
        [SERVER_SERVE] = "Serve", [SERVER_VALIDATE] = "Validate", [SERVER_INIT_ONLY] = "InitOnly"};
    json_open(j, "command_line_options", '{');
    json_uint64(j, "base_id", o->base_id);
    json_uint(j, "concurrency", o->concurrency);
    json_str(j, "config_path", whole(o->config_path));
    json_str(j, "config_yaml", whole(o->config_yaml));
    json_bool(j, "allow_unknown_static_fields", o->allow_unsupported);
    json_str(j, "admin_address_path", whole(o->admin_address_path));
    json_str(j, "service_cluster", whole(o->service_cluster));
    json_str(j, "service_node", whole(o->service_node));
    json_str(j, "service_zone", whole(o->service_zone));
    add_seconds(j, "drain_time", o->drain_time_s);
    add_seconds(j, "parent_shutdown_time", o->parent_shutdown_time_s);
    json_str(j, "mode", str_from(modes[o->mode]));
    json_bool(j, "disable_hot_restart", true);
    json_uint(j, "restart_epoch", 0);
    json_str(j, "drain_strategy", o->drain_immediate ? STR("Immediate") : STR("Gradual"));
    json_close(j, '}');
}

static void add_node(struct json_out *j, const struct node_info *n)
{
    json_open(j, "node", '{');
    json_str(j, "id", whole(n->id));
    json_str(j, "cluster", whole(n->cluster));
    json_open(j, "locality", '{');
    json_str(j, "region", whole(n->region));
    json_str(j, "zone", whole(n->zone));
    json_str(j, "sub_zone", whole(n->sub_zone));
    json_close(j, '}');
    json_str(j, "user_agent_name", STR("weft"));
    json_str(j, "user_agent_version", STR(WEFT_VERSION));
    json_close(j, '}');
}

void page_server_info(struct admin_request *rq)
{
    const struct server *s = rq->server;
    struct json_out j = {.b = &rq->body};
    uint64_t now_us = loop_now_us(s->main_loop);
    uint64_t up_s = now_us > s->start_us ? (now_us - s->start_us) / 1000000 : 0;
    rq->content_type = "application/json";
    json_open(&j, NULL, '{');
#ifdef NDEBUG
    json_str(&j, "version", STR("weft/" WEFT_VERSION "/Clean/RELEASE/OpenSSL"));
#else
    json_str(&j, "version", STR("weft/" WEFT_VERSION "/Clean/DEBUG/OpenSSL"));
#endif
    json_str(&j, "state", str_from(state_of(s)));
    add_seconds(&j, "uptime_current_epoch", up_s);
    add_seconds(&j, "uptime_all_epochs", up_s);
    json_str(&j, "hot_restart_version", STR("disabled"));
    add_options(&j, &s->opts);
    add_node(&j, &s->node);
    json_close(&j, '}');
}

static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f)
        return 0;
    if (fscanf(f, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Envoy's names of tcmalloc's figures, filled from what glibc's allocator has in their place; the
 * thread cache is the main thread's idle buffer blocks. */
void page_memory(struct admin_request *rq)
{
    struct mallinfo2 m = mallinfo2();
    struct buf_usage usage = buf_thread_usage();
    struct json_out j = {.b = &rq->body};
    rq->content_type = "application/json";
    json_open(&j, NULL, '{');
    json_uint64(&j, "allocated", m.uordblks + m.hblkhd);
    json_uint64(&j, "heap_size", m.arena + m.hblkhd);
    json_uint64(&j, "pageheap_unmapped", 0);
    json_uint64(&j, "pageheap_free", m.fordblks);
    json_uint64(&j, "total_thread_cache", usage.blocks_idle * BUF_BLOCK_BYTES);
    json_uint64(&j, "total_physical_bytes", resident_bytes());
    json_close(&j, '}');
}
