/* SPDX-License-Identifier: Apache-2.0
 *
 * Listening sockets. Those of one address with the same options are a group, found again by what they
 * are: a listener's next generation, or another listener that follows a removed one at its address, takes
 * the group over, so that what waits in the backlog is served by whoever comes next. The last one closes
 * it. Main thread. Refuses a listener of which any address can't be had, naming it.
 */
#include <unistd.h>

#include "base/mem.h"
#include "proxy/listener/listener_priv.h"

struct listen_groups {
    struct map *by_key;
};

struct listen_groups *listen_groups_new(void)
{
    struct listen_groups *g = NEW(listen_groups);
    g->by_key = map_new();
    return g;
}

void listen_groups_free(struct listen_groups **groups)
{
    struct listen_groups *g = *groups;
    *groups = NULL;
    if (!g)
        return;
    DCHECK(map_count(g->by_key) == 0);
    map_free(&g->by_key);
    mem_free(g);
}

/* ---- keys ---- */

static void add_options(struct strbuf *key, const struct sock_opt *options, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct sock_opt *o = &options[i];
        strbuf_addf(key, "|%d.%d=%d:%zu:", o->level, o->name, o->int_value, o->bytes_value.n);
        strbuf_adds(key, o->bytes_value);
    }
}

/* Everything that a socket is made with. A port that the kernel chose is one listener's own. */
static void make_key(struct strbuf *key, const struct listener *l, uint32_t address, uint32_t count)
{
    char text[ADDR_TEXT_BYTES];
    const struct addr *a = &l->spec->addresses[address];
    const struct listen_opts *o = &l->spec->listen[address];
    strbuf_addz(key, addr_text(a, text));
    if (addr_is_ip(a) && addr_port(a) == 0)
        strbuf_addf(key, "/%.*s/%u", STR_ARG(l->spec->name), address);
    strbuf_addf(key, " %u %d%d%d%d%d%d %u %u %o %d,%d,%d", count, o->reuse_port, o->ipv4_compat, o->transparent, o->freebind,
                o->defer_accept, o->keepalive, o->backlog, o->tcp_fast_open_queue, o->unix_mode, o->keepalive_probes,
                o->keepalive_time_s, o->keepalive_interval_s);
    add_options(key, o->options, o->option_count);
    strbuf_addc(key, ' ');
    add_options(key, o->listening_options, o->listening_option_count);
}

/* ---- groups ---- */

static void group_free(struct listen_group *g)
{
    for (uint32_t i = 0; i < g->count; i++)
        close(g->fds[i]);
    if (g->bound.sa.sa_family == AF_UNIX && g->bound.unix_path && g->bound.unix_path[0] == '/')
        unlink(g->bound.unix_path);
    addr_fini(&g->bound);
    str_free(&g->key);
    mem_free(g->fds);
    mem_free(g);
}

static struct listen_group *group_new(const struct listener *l, uint32_t address, uint32_t count, struct err *err)
{
    struct listen_group *g = NEW(listen_group);
    g->fds = mem_zalloc(count * sizeof(*g->fds));
    for (uint32_t k = 0; k < count; k++) {
        struct listen_opts opts = l->spec->listen[address];
        if (listen_bind(k == 0 ? &l->spec->addresses[address] : &g->bound, &opts, &g->fds[k], k == 0 ? &g->bound : NULL, err)) {
            group_free(g);
            return NULL;
        }
        g->count++;
    }
    return g;
}

static struct listen_group *group_get(struct listen_groups *all, const struct listener *l, uint32_t address, uint32_t count,
                                      struct err *err)
{
    struct strbuf key = {0};
    make_key(&key, l, address, count);
    struct listen_group *g = map_get(all->by_key, strbuf_str(&key));
    if (!g && (g = group_new(l, address, count, err)) != NULL) {
        size_t n = key.n;
        g->key = str_make(strbuf_take(&key), n);
        map_set(all->by_key, g->key, g);
    }
    if (g)
        g->refs++;
    strbuf_fini(&key);
    return g;
}

static void group_unref(struct listen_groups *all, struct listen_group **group)
{
    struct listen_group *g = *group;
    *group = NULL;
    if (!g || --g->refs)
        return;
    map_del(all->by_key, g->key);
    group_free(g);
}

/* ---- a listener's ---- */

int listener_bind(struct listener *l, struct listen_groups *g, struct err *err)
{
    const struct listener_spec *spec = l->spec;
    uint32_t workers = l->server->worker_count;
    l->fds = mem_alloc((size_t)(spec->address_count + 1) * workers * sizeof(*l->fds));
    for (uint32_t i = 0; i < spec->address_count; i++) {
        uint32_t n = !spec->bind_to_port ? 0 : spec->listen[i].reuse_port ? workers : 1;
        l->first_fd[i] = l->fd_count;
        if (n && !(l->groups[i] = group_get(g, l, i, n, err))) {
            listener_close(l, g);
            return err->code;
        }
        addr_copy(&l->bound[i], n ? &l->groups[i]->bound : &spec->addresses[i]);
        for (uint32_t k = 0; k < n; k++)
            l->fds[l->fd_count++] = l->groups[i]->fds[k];
    }
    l->first_fd[spec->address_count] = l->fd_count;
    return 0;
}

int listener_listen(struct listener *l, struct err *err)
{
    for (uint32_t i = 0; i < l->spec->address_count; i++) {
        struct listen_group *g = l->groups[i];
        for (uint32_t k = 0; g && !g->is_listening && k < g->count; k++) {
            int rc = listen_begin(g->fds[k], &g->bound, &l->spec->listen[i], err);
            if (rc)
                return rc;
        }
        if (g)
            g->is_listening = true;
    }
    return 0;
}

void listener_close(struct listener *l, struct listen_groups *g)
{
    l->fd_count = 0;
    for (uint32_t i = 0; i < l->spec->address_count; i++)
        group_unref(g, &l->groups[i]);
}
