/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections to one endpoint on one worker. A request takes the ready connection used last, or
 * waits in line while connections are made: one for each waiting HTTP/1 request, HTTP/2 ones by the
 * streams they are expected to carry. Runs on its loop.
 *
 *     member: CONNECTING -> READY (takes a request) <-> FULL (busy, or leaving) -> gone
 *
 * Invariants: each request gets one on_stream or on_failed unless it is cancelled; a member is in
 * one of the three lists until its connection told on_closed. Any call upwards may request, cancel,
 * close or free: afterwards `dead` (pool) and `gone` (member) are looked at; memory goes at the
 * turn's end. A failed connect fails everything that waits, as Envoy's pools do: who waits may try
 * elsewhere.
 */
#include "http/pool.h"

#include "base/mem.h"
#include "http/http_priv.h"

/* Streams that a connection is expected to carry before its peer has said so. */
#define EXPECTED_H2_STREAMS 1024

enum place { CONNECTING, READY, FULL, PLACE_COUNT };

struct member {
    struct list node;
    struct http_pool *pool;
    struct http_client_conn *c;
    struct deferred deferred;
    uint64_t idle_since_us;
    uint32_t active;   /* as last told to the owner */
    uint32_t expected; /* streams it counts for while connecting */
    enum place place;
    bool limits_known; /* the peer has said what it allows, or been asked for something */
    bool leaving;      /* GOAWAY, or enough requests */
    bool gone;
};

struct http_pool_request {
    struct list node;
    struct http_pool *pool;
    bool fresh;
    bool *called_back; /* of the http_pool_request() on the stack, if it is */
    struct http_sink *sink;
    struct arena *arena;
    const struct http_pool_user *ops;
    void *user;
};

#define POOL_MAGIC 0x504f4f4c
struct http_pool {
    uint32_t magic;
    bool dead, draining, serving, connecting;
    bool protocol_known; /* ALPN: a connection has told */
    enum http_protocol protocol;
    struct loop *loop;
    const struct http_pool_opts *opts;
    const struct http_pool_events *events;
    void *owner;
    struct list pending;
    struct list members[PLACE_COUNT]; /* READY: used last first */
    uint32_t pending_count, conn_count, active;
    uint32_t
        learned_streams; /* what the peer allowed on the last HTTP/2 connection; 0 = not known */
    uint64_t connecting_capacity;
    struct timer idle;
    struct deferred deferred;
};

static __thread struct recycler requests = {
    .max_idle = 256,
    .object_bytes = sizeof(struct http_pool_request),
};

static void serve(struct http_pool *p);
static void check_empty(struct http_pool *p);

/* ---- members ---- */

static struct member *member_of(struct list *node)
{
    return LIST_ENTRY(node, member, node);
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* n, but no more than `limit` streams altogether (0 = no limit). */
static uint32_t cap_streams(const struct member *m, uint32_t n, uint32_t limit)
{
    if (!limit)
        return n;
    return m->active < limit ? min_u32(n, limit - m->active) : 0;
}

/* Requests that m may take now. Until a new HTTP/2 peer has sent its SETTINGS it gets as many as
 * the one before it allowed: more would be refused. */
static uint32_t room(const struct member *m)
{
    const struct http_pool_opts *o = m->pool->opts;
    uint32_t n = m->leaving || m->gone ? 0 : http_client_conn_capacity(m->c);

    if (n && http_client_conn_protocol(m->c) == HTTP_2) {
        n = cap_streams(m, n, o->max_concurrent_streams);
        if (!m->limits_known)
            n = cap_streams(m, n, m->pool->learned_streams);
    }
    if (n && o->max_requests_per_connection) {
        uint64_t used = http_client_conn_requests(m->c);

        n = used < o->max_requests_per_connection
                ? min_u32(n, (uint32_t)(o->max_requests_per_connection - used))
                : 0;
    }
    return n;
}

static void put(struct member *m, enum place place)
{
    list_remove(&m->node);
    list_push_front(&m->pool->members[place], &m->node);
    m->place = place;
}

/* Where m belongs by its room. */
static void settle(struct member *m)
{
    enum place place = room(m) ? READY : FULL;

    if (!m->gone && m->place != place)
        put(m, place);
}

static bool is_idle(const struct member *m)
{
    return m->place == READY && m->active == 0;
}

static void arm_idle(struct http_pool *p)
{
    if (p->opts->idle_timeout_ms && !timer_is_set(&p->idle))
        timer_set_ms(&p->idle, p->opts->idle_timeout_ms);
}

static void close_member(struct member *m)
{
    http_client_conn_close(m->c);
    if (!m->gone) /* its ending is on the stack already */
        put(m, FULL);
}

/* What to do with a member after it could have taken a request. */
static void rest(struct member *m)
{
    struct http_pool *p = m->pool;

    if (p->dead || m->gone || m->active)
        return;
    if (p->draining && p->pending_count == 0)
        http_client_conn_close(m->c);
    else if (m->place == READY)
        arm_idle(p);
}

static void count_active(struct member *m, uint32_t now)
{
    struct http_pool *p = m->pool;
    int delta = (int)now - (int)m->active;

    m->active = now;
    p->active += (uint32_t)delta;
    if (delta && p->events->on_active)
        p->events->on_active(p->owner, delta);
}

/* ---- handing out ---- */

/* A READY member; with `fresh` one that has carried nothing. */
static struct member *pick(struct http_pool *p, bool fresh)
{
    LIST_EACH(it, next, &p->members[READY]) {
        struct member *m = member_of(it);

        if (!room(m)) { /* its settings changed meanwhile */
            settle(m);
            continue;
        }
        if (!fresh || http_client_conn_requests(m->c) == 0)
            return m;
    }
    return NULL;
}

static void leave_when_used_up(struct member *m)
{
    struct http_pool *p = m->pool;
    uint32_t max = p->opts->max_requests_per_connection;

    if (!max || m->leaving || http_client_conn_requests(m->c) < max)
        return;
    m->leaving = true;
    settle(m);
    if (p->events->on_max_requests)
        p->events->on_max_requests(p->owner);
    if (!m->gone)
        http_client_conn_drain(m->c);
}

/* False when the connection didn't take it after all. */
static bool attach(struct member *m, struct http_sink *sink, struct arena *arena,
                   const struct http_pool_user *ops, void *user)
{
    const struct http_pool_events *events = m->pool->events;
    void *owner = m->pool->owner;

    if (events->may_start && !events->may_start(owner)) {
        ops->on_failed(user, STREAM_OVERFLOW, "", NULL);
        return true;
    }
    struct http_stream *s = http_client_conn_stream(m->c, sink, arena);
    if (!s) {
        if (events->on_not_started)
            events->on_not_started(owner);
        put(m, FULL);
        return false;
    }
    count_active(m, m->active + 1);
    settle(m);
    ops->on_stream(user, s, m->c);
    if (!m->gone)
        leave_when_used_up(m);
    return true;
}

/* ---- waiting requests ---- */

static void request_leave(struct http_pool_request *r)
{
    struct http_pool *p = r->pool;

    list_remove(&r->node);
    p->pending_count--;
    if (r->called_back)
        *r->called_back = true;
    if (p->events->on_pending)
        p->events->on_pending(p->owner, -1);
}

static void fail_pending(struct http_pool *p, enum stream_reset why, const char *text,
                         struct conn *conn)
{
    struct list doomed;

    list_init(&doomed); /* who fails may ask again: that one waits for a new connection */
    while (!list_is_empty(&p->pending))
        list_push_back(&doomed, list_pop_front(&p->pending));
    for (struct list *it; (it = list_first(&doomed)) != NULL;) {
        struct http_pool_request *r = LIST_ENTRY(it, http_pool_request, node);
        const struct http_pool_user *ops = r->ops;
        void *user = r->user;

        request_leave(r);
        recycler_put(&requests, r);
        ops->on_failed(user, why, text, conn);
    }
}

/* The first in line that a member can take now. */
static struct http_pool_request *next_served(struct http_pool *p, struct member **m)
{
    LIST_EACH(it, next, &p->pending) {
        struct http_pool_request *r = LIST_ENTRY(it, http_pool_request, node);

        *m = pick(p, r->fresh);
        if (*m)
            return r;
        if (!r->fresh)
            break;
    }
    return NULL;
}

/* ---- connecting ---- */

static const struct http_client_handler client_handler;

static bool expects_h2(const struct http_pool *p)
{
    return p->protocol_known ? p->protocol == HTTP_2 : p->opts->alpn || p->opts->protocol == HTTP_2;
}

static uint32_t expected_streams(const struct http_pool *p)
{
    const struct http_pool_opts *o = p->opts;
    uint32_t n = 1;

    if (expects_h2(p)) {
        n = p->learned_streams ? p->learned_streams : EXPECTED_H2_STREAMS;
        if (o->max_concurrent_streams)
            n = min_u32(n, o->max_concurrent_streams);
    }
    if (o->max_requests_per_connection)
        n = min_u32(n, o->max_requests_per_connection);
    return n;
}

static bool has_idle_connection(struct http_pool *p)
{
    return !list_is_empty(&p->members[READY]) && is_idle(member_of(list_last(&p->members[READY])));
}

static bool first_is_fresh(struct http_pool *p)
{
    struct list *first = list_first(&p->pending);

    return first && LIST_ENTRY(first, http_pool_request, node)->fresh;
}

/* At the breaker's limit a pool with no connection still makes one, or its requests would wait for
 * ever (Envoy's rule); and a request that may not use an old connection takes an old one's place.
 */
static bool may_connect(struct http_pool *p)
{
    if (!p->events->may_connect || p->events->may_connect(p->owner) || p->conn_count == 0)
        return true;
    if (!first_is_fresh(p) || !has_idle_connection(p))
        return false;
    close_member(member_of(list_last(&p->members[READY])));
    return !p->dead;
}

static bool connect_one(struct http_pool *p)
{
    struct conn *conn = p->events->connect(p->owner, p->loop);

    if (!conn)
        return false;

    struct member *m = NEW(member);

    m->pool = p;
    m->expected = expected_streams(p);
    list_init(&m->node);
    put(m, CONNECTING);
    p->conn_count++;
    p->connecting_capacity += m->expected;
    m->c = http_client_conn_new(conn, p->opts->protocol, p->opts->alpn, p->opts->client,
                                &client_handler, m);
    if (p->events->on_connecting)
        p->events->on_connecting(p->owner, conn);
    return true;
}

static uint64_t ready_room(struct http_pool *p)
{
    uint64_t n = 0;

    LIST_EACH(it, next, &p->members[READY])
        n += room(member_of(it));
    return n;
}

/* preconnect_ratio above 1 keeps connections ready for that many times what is going on. */
static bool wants_connection(struct http_pool *p)
{
    if (p->pending_count > p->connecting_capacity)
        return true;
    if (p->opts->preconnect_ratio <= 1.0f || p->draining)
        return false;
    double wanted = (double)(p->pending_count + p->active) * (double)p->opts->preconnect_ratio;

    return wanted > (double)(p->connecting_capacity + p->active + ready_room(p));
}

static void connect_more(struct http_pool *p)
{
    if (p->connecting) /* from inside may_connect or connect */
        return;
    p->connecting = true;

    bool failed = false;

    while (!failed && !p->dead && wants_connection(p) && may_connect(p))
        failed = !connect_one(p);
    p->connecting = false;
    if (failed && p->conn_count == 0) { /* nothing will come that could serve them */
        fail_pending(p, STREAM_CONNECT_FAILED, "", NULL);
        check_empty(p);
    }
}

/* Gives members to whoever waits, then sees to it that the rest has connections coming. */
static void serve(struct http_pool *p)
{
    struct member *m = NULL;
    struct http_pool_request *r;

    if (p->serving) /* the loop below sees what changed */
        return;
    p->serving = true;
    while (!p->dead && (r = next_served(p, &m)) != NULL) {
        struct http_pool_request copy = *r;

        request_leave(r);
        recycler_put(&requests, r);
        if (!attach(m, copy.sink, copy.arena, copy.ops, copy.user))
            copy.ops->on_failed(copy.user, STREAM_CONNECT_FAILED, "", NULL);
    }
    p->serving = false;
    connect_more(p);
}

static void check_empty(struct http_pool *p)
{
    if (!p->dead && p->conn_count == 0 && p->pending_count == 0 && p->events->on_empty)
        p->events->on_empty(p->owner);
}

/* ---- events of connections ---- */

static void on_ready(void *user, struct http_client_conn *c)
{
    struct member *m = user;
    struct http_pool *p = m->pool;

    p->connecting_capacity -= m->expected;
    p->protocol = http_client_conn_protocol(c);
    p->protocol_known = true;
    m->idle_since_us = loop_now_us(p->loop);
    put(m, room(m) ? READY : FULL);
    if (p->events->on_connected)
        p->events->on_connected(p->owner, c);
    if (!p->dead)
        serve(p);
    rest(m);
}

static void learn(struct member *m)
{
    uint32_t n = http_client_conn_capacity(m->c);

    if (n && http_client_conn_protocol(m->c) == HTTP_2)
        m->pool->learned_streams = n + m->active;
}

static void on_capacity(void *user, struct http_client_conn *c)
{
    struct member *m = user;
    struct http_pool *p = m->pool;
    uint32_t now = http_client_conn_active_streams(c);

    if (now == 0)
        m->idle_since_us = loop_now_us(p->loop);
    m->limits_known = true;
    count_active(m, now);
    if (p->dead || m->gone)
        return;
    learn(m);
    settle(m);
    if (p->pending_count)
        serve(p);
    rest(m);
}

static void on_goaway(void *user, struct http_client_conn *c)
{
    struct member *m = user;
    struct http_pool *p = m->pool;

    (void)c;
    m->leaving = true;
    if (m->place == CONNECTING) /* never became ready */
        return;
    settle(m);
    if (!p->dead)
        serve(p);
}

static enum stream_reset connect_failure(enum conn_close why)
{
    return why == CONN_CLOSE_CONNECT_TIMEOUT || why == CONN_CLOSE_TLS_TIMEOUT
               ? STREAM_CONNECT_TIMEOUT
               : STREAM_CONNECT_FAILED;
}

static void destroy_member(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, member, deferred));
}

static void forget(struct member *m)
{
    struct http_pool *p = m->pool;

    m->gone = true;
    list_remove(&m->node);
    p->conn_count--;
    if (m->place == CONNECTING)
        p->connecting_capacity -= m->expected;
    loop_defer(p->loop, &m->deferred, destroy_member);
}

static void on_closed(void *user, struct http_client_conn *c, bool was_ready, enum conn_close why)
{
    struct member *m = user;
    struct http_pool *p = m->pool;
    struct conn *conn = http_client_conn_conn(c);
    uint32_t active = m->active;

    forget(m);
    count_active(m, 0);
    if (p->events->on_conn_closed)
        p->events->on_conn_closed(p->owner, c, was_ready, why, active);
    if (p->dead)
        return;
    if (!was_ready && why != CONN_CLOSE_LOCAL)
        fail_pending(p, connect_failure(why), conn_failure_text(conn), conn);
    if (!p->dead && p->pending_count)
        serve(p);
    check_empty(p);
}

static void on_max_duration(void *user, struct http_client_conn *c)
{
    struct member *m = user;
    struct http_pool *p = m->pool;

    (void)c;
    m->leaving = true;
    settle(m);
    if (p->events->on_max_duration)
        p->events->on_max_duration(p->owner);
}

static void on_protocol_error(void *user, struct http_client_conn *c, const char *details)
{
    struct member *m = user;
    struct http_pool *p = m->pool;

    (void)c;
    if (p->events->on_protocol_error)
        p->events->on_protocol_error(p->owner, details);
}

static void on_h2_stat(void *user, struct http_client_conn *c, enum h2_stat stat)
{
    struct member *m = user;
    struct http_pool *p = m->pool;

    (void)c;
    if (p->events->on_h2_stat)
        p->events->on_h2_stat(p->owner, stat);
}

static const struct http_client_handler client_handler = {
    .on_ready = on_ready,
    .on_capacity = on_capacity,
    .on_goaway = on_goaway,
    .on_max_duration = on_max_duration,
    .on_closed = on_closed,
    .on_protocol_error = on_protocol_error,
    .on_h2_stat = on_h2_stat,
};

/* ---- idle connections ---- */

static struct member *oldest_idle(struct http_pool *p)
{
    struct member *oldest = NULL;

    for (struct list *it = p->members[READY].prev; it != &p->members[READY]; it = it->prev) {
        struct member *m = member_of(it);

        if (m->active == 0 && (!oldest || m->idle_since_us < oldest->idle_since_us))
            oldest = m;
        if (oldest && http_client_conn_protocol(m->c) != HTTP_2)
            break; /* HTTP/1: in order of use */
    }
    return oldest;
}

static void on_idle(struct timer *t)
{
    struct http_pool *p = CONTAINER_OF(t, http_pool, idle);
    uint64_t now = loop_now_us(p->loop), timeout_us = p->opts->idle_timeout_ms * 1000;
    struct member *m;

    while (!p->dead && (m = oldest_idle(p)) != NULL) {
        if (m->idle_since_us + timeout_us > now) {
            timer_set_us(&p->idle, m->idle_since_us + timeout_us - now);
            return;
        }
        if (p->events->on_idle_timeout)
            p->events->on_idle_timeout(p->owner);
        if (!m->gone)
            close_member(m);
    }
}

/* ---- public ---- */

struct http_pool *http_pool_new(struct loop *loop, const struct http_pool_opts *keep_opts,
                                const struct http_pool_events *events, void *owner)
{
    struct http_pool *p = NEW(http_pool);

    p->magic = POOL_MAGIC;
    p->loop = loop;
    p->opts = keep_opts;
    p->events = events;
    p->owner = owner;
    list_init(&p->pending);
    for (int i = 0; i < PLACE_COUNT; i++)
        list_init(&p->members[i]);
    timer_init(&p->idle, loop, on_idle);
    return p;
}

/* Closes what carries nothing. */
static void close_idle(struct http_pool *p)
{
    struct member *m;

    while (!p->dead && (m = oldest_idle(p)) != NULL)
        close_member(m);
    while (!p->dead && p->pending_count == 0 && !list_is_empty(&p->members[CONNECTING]))
        close_member(member_of(list_first(&p->members[CONNECTING])));
}

void http_pool_drain(struct http_pool *p)
{
    DCHECK(p->magic == POOL_MAGIC);
    if (p->dead || p->draining)
        return;
    p->draining = true;

    bool had_connections = p->conn_count > 0;

    close_idle(p);
    if (!had_connections)
        check_empty(p);
}

void http_pool_retire_connections(struct http_pool *p)
{
    DCHECK(p->magic == POOL_MAGIC);
    for (int place = READY; place <= FULL && !p->dead; place++)
        LIST_EACH(it, next, &p->members[place])
            member_of(it)->leaving = true;
    for (struct member *m; !p->dead && (m = oldest_idle(p)) != NULL;)
        close_member(m);
    for (struct list *it; !p->dead && (it = list_first(&p->members[READY])) != NULL;)
        settle(member_of(it)); /* leaving: it has no room */
    LIST_EACH(it, next, &p->members[FULL]) /* they end with the streams they have */
        if (!p->dead)
            http_client_conn_drain(member_of(it)->c);
}

static void destroy_pool(struct deferred *d)
{
    struct http_pool *p = CONTAINER_OF(d, http_pool, deferred);

    p->magic = 0;
    mem_free(p);
}

void http_pool_free(struct http_pool **pp)
{
    struct http_pool *p = *pp;

    *pp = NULL;
    if (!p || p->dead)
        return;
    p->dead = true;
    timer_clear(&p->idle);
    for (int i = 0; i < PLACE_COUNT; i++)
        for (struct list *it; (it = list_pop_front(&p->members[i])) != NULL;)
            http_client_conn_close(member_of(it)->c);
    fail_pending(p, STREAM_LOCAL, "", NULL);
    loop_defer(p->loop, &p->deferred, destroy_pool);
}

static struct http_pool_request *enqueue(struct http_pool *p, bool fresh, struct http_sink *sink,
                                         struct arena *arena, const struct http_pool_user *ops,
                                         void *user)
{
    struct http_pool_request *r = recycler_get(&requests);

    *r = (struct http_pool_request){
        .pool = p, .fresh = fresh, .sink = sink, .arena = arena, .ops = ops, .user = user};
    list_init(&r->node);
    list_push_back(&p->pending, &r->node);
    p->pending_count++;
    if (p->events->on_pending)
        p->events->on_pending(p->owner, 1);
    return r;
}

struct http_pool_request *http_pool_request(struct http_pool *p, bool fresh, struct http_sink *sink,
                                            struct arena *arena,
                                            const struct http_pool_user *user_ops, void *user)
{
    DCHECK(p->magic == POOL_MAGIC);
    if (p->dead) {
        user_ops->on_failed(user, STREAM_LOCAL, "", NULL);
        return NULL;
    }
    for (struct member *m; (m = pick(p, fresh)) != NULL;) {
        if (attach(m, sink, arena, user_ops, user)) {
            if (p->opts->preconnect_ratio > 1.0f)
                connect_more(p);
            return NULL;
        }
    }
    if (p->events->may_pend && !p->events->may_pend(p->owner)) {
        user_ops->on_failed(user, STREAM_OVERFLOW, "", NULL);
        return NULL;
    }

    bool called_back = false;
    struct http_pool_request *r = enqueue(p, fresh, sink, arena, user_ops, user);

    r->called_back = &called_back;
    connect_more(p);
    if (called_back)
        return NULL;
    r->called_back = NULL;
    return r;
}

void http_pool_load(struct http_pool *p, uint64_t *pending, uint64_t *active, uint64_t *room)
{
    *pending += p->pending_count;
    *active += p->active;
    *room += p->connecting_capacity + ready_room(p);
}

bool http_pool_preconnect(struct http_pool *p, float ratio)
{
    DCHECK(p->magic == POOL_MAGIC);
    if (p->dead || p->draining || p->connecting)
        return false;
    double wanted = (double)(p->pending_count + p->active + 1) * (double)ratio;
    if (wanted <= (double)(p->connecting_capacity + p->active + ready_room(p)) || !may_connect(p))
        return false;
    return connect_one(p);
}

void http_pool_cancel(struct http_pool_request *r)
{
    struct http_pool *p = r->pool;

    request_leave(r);
    recycler_put(&requests, r);
    if (p->dead)
        return;
    if (p->draining && p->pending_count == 0)
        close_idle(p);
    else
        check_empty(p);
}

uint32_t http_pool_connection_count(const struct http_pool *p)
{
    return p->conn_count;
}
