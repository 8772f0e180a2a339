/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection to a host of several addresses ("happy eyeballs", RFC 8305): attempts start one after
 * the other, the next when the last hasn't succeeded for a while or at once when one fails. The first
 * that connects lends its descriptor to the connection, the others are closed.
 *
 * Until then the connection has no descriptor of its own; its connect timeout holds for all attempts
 * together. Everything runs on the loop's thread. A race ends once: won, lost, or its connection dead.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/conn_priv.h"
#include "io/sys.h"

#define ATTEMPT_DELAY_MS 300 /* RFC 8305 section 5 recommends 250; Envoy waits this long */

struct attempt {
    struct watch watch;
    struct conn_race *race;
    struct addr remote;
};

struct conn_race {
    struct conn *conn;
    struct timer timer;
    struct deferred deferred;
    struct conn_connect_opts opts; /* bind and options: copies, the race outlives its caller's */
    struct addr bind;
    uint32_t count, next, running;
    struct attempt attempts[];
};

/* ---- made and ended ---- */

static void copy_opts(struct conn_race *r, const struct conn_connect_opts *o)
{
    struct sock_opt *options = mem_zalloc((o->option_count + 1) * sizeof(*options));
    for (size_t i = 0; i < o->option_count; i++) {
        options[i] = o->options[i];
        if (options[i].bytes_value.p)
            options[i].bytes_value.p = mem_strndup(options[i].bytes_value.p, options[i].bytes_value.n);
    }
    r->opts = *o;
    r->opts.options = options;
    if (o->bind) {
        addr_copy(&r->bind, o->bind);
        r->opts.bind = &r->bind;
    }
}

static const struct addr *addr_at(const struct conn_connect_opts *o, size_t i)
{
    return i == 0 ? o->remote : &o->alternatives[i - 1];
}

/* The next address of the first family, or of the others, from *at on; NULL when there is none. */
static const struct addr *next_of(const struct conn_connect_opts *o, sa_family_t first, bool of_first, size_t *at)
{
    while (*at <= o->alternative_count) {
        const struct addr *a = addr_at(o, (*at)++);
        if ((a->sa.sa_family == first) == of_first)
            return a;
    }
    return NULL;
}

/* Families take turns, each in its order (RFC 8305 section 4): as many of the first family as its count says, then one of
 * the others, and again (Envoy does so each time, the RFC only at the beginning). */
static void order_addrs(struct conn_race *r, const struct conn_connect_opts *o)
{
    sa_family_t first = o->first_family ? o->first_family : o->remote->sa.sa_family;
    uint32_t firsts = o->first_family_count ? o->first_family_count : 1;
    size_t at_first = 0, at_other = 0;
    for (uint32_t n = 0; n < r->count;) {
        const struct addr *a;
        for (uint32_t i = 0; i < firsts && (a = next_of(o, first, true, &at_first)) != NULL; i++)
            addr_copy(&r->attempts[n++].remote, a);
        if ((a = next_of(o, first, false, &at_other)) != NULL)
            addr_copy(&r->attempts[n++].remote, a);
    }
}

static void destroy(struct deferred *d)
{
    struct conn_race *r = CONTAINER_OF(d, conn_race, deferred);
    for (size_t i = 0; i < r->opts.option_count; i++)
        mem_free((char *)(uintptr_t)r->opts.options[i].bytes_value.p);
    mem_free((struct sock_opt *)(uintptr_t)r->opts.options);
    for (uint32_t i = 0; i < r->count; i++)
        addr_fini(&r->attempts[i].remote);
    addr_fini(&r->bind);
    mem_free(r);
}

static void give_up(struct attempt *a)
{
    if (a->watch.fd < 0)
        return;
    watch_forget(&a->watch);
    close(a->watch.fd);
    a->watch.fd = -1;
    a->race->running--;
    acceptor_descriptor_freed();
}

void conn_race_end(struct conn *c)
{
    struct conn_race *r = c->ext ? c->ext->race : NULL;
    if (!r)
        return;
    c->ext->race = NULL;
    timer_clear(&r->timer);
    for (uint32_t i = 0; i < r->count; i++)
        give_up(&r->attempts[i]);
    loop_defer(c->watch.loop, &r->deferred, destroy); /* one of its callbacks may be running */
}

/* ---- running ---- */

/* The text told is the last attempt's. */
static void forget_failure(struct conn *c)
{
    mem_free(c->ext->failure_text);
    c->ext->failure_text = NULL;
}

static void win(struct attempt *a)
{
    struct conn *c = a->race->conn;
    watch_del(&a->watch);
    c->fd = c->watch.fd = a->watch.fd;
    a->watch.fd = -1;
    addr_fini(&c->remote);
    addr_copy(&c->remote, &a->remote);
    conn_race_end(c);
    forget_failure(c);
    if (conn_watch(c) != 0) {
        conn_fail(c, CONN_CLOSE_CONNECT_FAILED);
        return;
    }
    c->can_write = true;
    conn_connect_ready(c);
}

static int socket_error(int fd)
{
    int e = 0;
    socklen_t n = sizeof(e);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) == 0 ? e : errno;
}

static void on_ready(struct watch *w, unsigned events)
{
    struct attempt *a = CONTAINER_OF(w, attempt, watch);
    struct conn *c = a->race->conn;
    if (!(events & (WATCH_OUT | WATCH_ERROR)))
        return;
    int e = socket_error(w->fd);
    if (!e) {
        win(a);
        return;
    }
    forget_failure(c);
    conn_set_failure_text(c, "delayed connect error: %s", strerror(e));
    give_up(a);
    if (!conn_race_go(c))
        conn_fail(c, CONN_CLOSE_CONNECT_FAILED);
}

static bool begin(struct conn_race *r, struct attempt *a)
{
    struct err err = {0};
    forget_failure(r->conn);
    int fd = conn_open_socket(r->conn, &a->remote, &r->opts);
    if (fd < 0)
        return false;
    if (watch_add(r->conn->watch.loop, &a->watch, fd, on_ready, &err) != 0) {
        conn_set_failure_text(r->conn, "%s", err.message);
        close(fd);
        return false;
    }
    a->watch.fd = fd;
    r->running++;
    return true;
}

bool conn_race_go(struct conn *c)
{
    struct conn_race *r = c->ext->race;
    while (r->next < r->count && !begin(r, &r->attempts[r->next++]))
        ;
    if (r->next < r->count)
        timer_set_ms(&r->timer, ATTEMPT_DELAY_MS);
    else
        timer_clear(&r->timer);
    return r->running > 0;
}

static void on_timer(struct timer *t)
{
    struct conn_race *r = CONTAINER_OF(t, conn_race, timer);
    conn_race_go(r->conn); /* the earlier attempt still runs: nothing is lost yet */
}

void conn_race_new(struct conn *c, const struct conn_connect_opts *o)
{
    uint32_t count = (uint32_t)o->alternative_count + 1;
    struct conn_race *r = mem_zalloc(sizeof(*r) + count * sizeof(r->attempts[0]));
    conn_ext(c)->race = r;
    r->conn = c;
    r->count = count;
    timer_init(&r->timer, c->watch.loop, on_timer);
    copy_opts(r, o);
    order_addrs(r, o);
    for (uint32_t i = 0; i < count; i++) {
        r->attempts[i].race = r;
        r->attempts[i].watch.loop = c->watch.loop;
        r->attempts[i].watch.fd = -1;
    }
}
