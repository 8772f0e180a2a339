/* SPDX-License-Identifier: Apache-2.0
 *
 * A pool between requests that a test makes and a far side that it plays: raw bytes, HTTP/2, or nobody.
 */
#ifndef TEST_POOL_HARNESS_H
#define TEST_POOL_HARNESS_H

#include "harness.h"

#include <arpa/inet.h>

#include "http/server.h"

#define MAX 16

enum far { FAR_RAW, FAR_H2, FAR_REFUSED, FAR_NONE };

struct env;
struct user { /* one request's owner */
    struct env *env;
    struct rec rec;
    struct arena arena;
    struct http_pool_request *waiting;
    struct http_client_conn *c;
    bool failed, retry_when_failed;
    enum stream_reset why;
};

struct env {
    struct loop *loop;
    struct http_pool *pool;
    struct http_pool_opts opts;
    struct http_client_opts client;
    struct http_server_opts server;
    struct user users[MAX];
    int user_count;
    struct peer peers[MAX]; /* raw ends, in order of connecting */
    struct rec far_streams[MAX * 4];
    int far_count;
    struct http_server_conn *far_conns[MAX];
    int connects, connected, conns_closed, empties, max_requests, idle_timeouts;
    int active, pending;
    int conn_limit, pending_limit;
    enum far far;
    bool free_in_stream, reset_in_stream, free_when_failed;
};

/* ---- the far side speaking HTTP/2 ---- */

static UNUSED void far_stream(void *user, struct http_server_conn *c, struct http_stream *s)
{
    struct env *e = user;
    struct rec *r = &e->far_streams[e->far_count++];

    (void)c;
    rec_init(r, NULL, e);
    r->s = s;
    s->sink = &r->sink;
}

static UNUSED void far_closed(void *user, struct http_server_conn *c, bool local, enum conn_close why)
{
    struct env *e = user;

    (void)local;
    (void)why;
    for (int i = 0; i < MAX; i++)
        if (e->far_conns[i] == c)
            e->far_conns[i] = NULL;
}

static const struct http_server_handler far_handler = {
    .on_stream = far_stream,
    .on_closed = far_closed,
};

static UNUSED struct conn *connect_h2(struct env *e)
{
    struct peer peer;
    struct conn *near = conn_with_peer(e->loop, &peer);
    const struct addr *any = conn_remote(near);

    fcntl(peer.fd, F_SETFL, O_NONBLOCK);
    e->peers[e->connects].fd = -1;
    e->far_conns[e->connects] = http_server_conn_new(conn_new_accepted(e->loop, peer.fd, any, any),
                                                     &e->server, &far_handler, e);
    return near;
}

/* A port that is taken and doesn't listen. */
static UNUSED struct conn *connect_refused(struct env *e)
{
    struct addr a = {.in4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof(a.in4);
    struct conn_connect_opts opts = {.remote = &a};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, &a.sa, n), 0);
    assert_int_equal(getsockname(fd, &a.sa, &n), 0);
    e->peers[e->connects].fd = fd;
    return conn_connect(e->loop, &opts, NULL, NULL);
}

/* ---- the owner ---- */

static UNUSED struct conn *on_connect(void *owner, struct loop *loop)
{
    struct env *e = owner;
    struct conn *c = NULL;

    assert_ptr_equal(loop, e->loop);
    assert_true(e->connects < MAX);
    switch (e->far) {
    case FAR_RAW:
        c = conn_with_peer(loop, &e->peers[e->connects]);
        break;
    case FAR_H2:
        c = connect_h2(e);
        break;
    case FAR_REFUSED:
        c = connect_refused(e);
        break;
    case FAR_NONE:
        return NULL;
    }
    e->connects++;
    return c;
}

static UNUSED bool may_connect(void *owner)
{
    struct env *e = owner;

    return !e->conn_limit || e->connects - e->conns_closed < e->conn_limit;
}

static UNUSED bool may_pend(void *owner)
{
    struct env *e = owner;

    return !e->pending_limit || e->pending < e->pending_limit;
}

static UNUSED void on_connected(void *owner, struct http_client_conn *c)
{
    (void)c;
    ((struct env *)owner)->connected++;
}

static UNUSED void on_conn_closed(void *owner, struct http_client_conn *c, bool was_ready,
                           enum conn_close why, uint32_t active)
{
    (void)c;
    (void)was_ready;
    (void)why;
    (void)active;
    ((struct env *)owner)->conns_closed++;
}

static UNUSED void on_pending(void *owner, int delta)
{
    ((struct env *)owner)->pending += delta;
}

static UNUSED void on_active(void *owner, int delta)
{
    ((struct env *)owner)->active += delta;
}

static UNUSED void on_max_requests(void *owner)
{
    ((struct env *)owner)->max_requests++;
}

static UNUSED void on_idle_timeout(void *owner)
{
    ((struct env *)owner)->idle_timeouts++;
}

static UNUSED void on_empty(void *owner)
{
    ((struct env *)owner)->empties++;
}

static const struct http_pool_events events = {
    .connect = on_connect,
    .may_connect = may_connect,
    .may_pend = may_pend,
    .on_connected = on_connected,
    .on_conn_closed = on_conn_closed,
    .on_pending = on_pending,
    .on_active = on_active,
    .on_max_requests = on_max_requests,
    .on_idle_timeout = on_idle_timeout,
    .on_empty = on_empty,
};

static UNUSED struct env *env_new(void)
{
    struct env *e = NEW(env);

    e->loop = test_loop();
    e->client = (struct http_client_opts){
        .h1 = {.limits = H1_LIMITS_DEFAULT},
        .buffer_limit_bytes = 1 << 20,
        .h2 = h2_opts_default(false),
    };
    e->server = (struct http_server_opts){
        .codec = HTTP_CODEC_H2,
        .drain_timeout_ms = 5000,
        .buffer_limit_bytes = 1 << 20,
        .h2 = h2_opts_default(true),
    };
    e->opts = (struct http_pool_opts){.client = &e->client, .protocol = HTTP_11};
    e->pool = http_pool_new(e->loop, &e->opts, &events, e);
    return e;
}

static UNUSED void turn(struct env *e)
{
    for (int i = 0; i < 8; i++) {
        loop_turn(e->loop, 0);
        for (int k = 0; k < e->connects; k++)
            peer_read(&e->peers[k]);
    }
}

static UNUSED void env_free(struct env *e)
{
    if (e->pool)
        http_pool_free(&e->pool);
    assert_int_equal(e->connects, e->conns_closed);
    assert_int_equal(e->active, 0);
    assert_int_equal(e->pending, 0);
    for (int i = 0; i < MAX; i++) {
        if (e->far_conns[i])
            http_server_conn_close(e->far_conns[i]);
        if (i < e->connects)
            peer_close(&e->peers[i]);
    }
    settle_loop(e->loop);
    for (int i = 0; i < e->user_count; i++) {
        assert_int_equal(e->users[i].rec.closed_count, e->users[i].rec.s != NULL);
        rec_fini(&e->users[i].rec);
        arena_fini(&e->users[i].arena);
    }
    for (int i = 0; i < e->far_count; i++)
        rec_fini(&e->far_streams[i]);
    loop_free(&e->loop);
    mem_free(e);
}

/* ---- requests ---- */

static UNUSED void send_get(struct http_stream *s)
{
    struct headers h;

    headers_init(&h, s->arena);
    headers_add_id_ref(&h, HDR_METHOD, STR("GET"));
    headers_add_id_ref(&h, HDR_SCHEME, STR("http"));
    headers_add_id_ref(&h, HDR_AUTHORITY, STR("h"));
    headers_add_id_ref(&h, HDR_PATH, STR("/"));
    stream_send_headers(s, &h, true);
}

static UNUSED void on_stream(void *user, struct http_stream *s, struct http_client_conn *c)
{
    struct user *u = user;

    assert_null(u->c);
    u->rec.s = s;
    u->c = c;
    u->waiting = NULL;
    if (u->env->reset_in_stream)
        stream_reset(s, STREAM_LOCAL);
    else
        send_get(s);
    if (u->env->free_in_stream && u->env->pool)
        http_pool_free(&u->env->pool);
}

static UNUSED struct user *request(struct env *e, bool fresh);

static UNUSED void on_failed(void *user, enum stream_reset why, const char *text, struct conn *conn)
{
    struct user *u = user;

    (void)conn;
    assert_non_null(text);
    assert_false(u->failed);
    u->failed = true;
    u->waiting = NULL;
    u->why = why;
    if (u->env->free_when_failed && u->env->pool)
        http_pool_free(&u->env->pool);
    if (u->retry_when_failed)
        request(u->env, false);
}

static const struct http_pool_user user_ops = {.on_stream = on_stream, .on_failed = on_failed};

static UNUSED struct user *request(struct env *e, bool fresh)
{
    struct user *u = &e->users[e->user_count++];

    u->env = e;
    rec_init(&u->rec, NULL, u);
    arena_init(&u->arena, 0);
    struct http_pool_request *r =
        http_pool_request(e->pool, fresh, &u->rec.sink, &u->arena, &user_ops, u);
    assert_int_equal(r == NULL, u->rec.s != NULL || u->failed);
    u->waiting = r;
    return u;
}

/* The raw peer `at` answers its present request. */
static UNUSED void answer(struct env *e, int at)
{
    peer_send(&e->peers[at], "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    turn(e);
}

#endif
