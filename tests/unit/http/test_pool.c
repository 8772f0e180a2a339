/* SPDX-License-Identifier: Apache-2.0 */
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

static void far_stream(void *user, struct http_server_conn *c, struct http_stream *s)
{
    struct env *e = user;
    struct rec *r = &e->far_streams[e->far_count++];

    (void)c;
    rec_init(r, NULL, e);
    r->s = s;
    s->sink = &r->sink;
}

static void far_closed(void *user, struct http_server_conn *c, bool local, enum conn_close why)
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

static struct conn *connect_h2(struct env *e)
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
static struct conn *connect_refused(struct env *e)
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

static struct conn *on_connect(void *owner, struct loop *loop)
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

static bool may_connect(void *owner)
{
    struct env *e = owner;

    return !e->conn_limit || e->connects - e->conns_closed < e->conn_limit;
}

static bool may_pend(void *owner)
{
    struct env *e = owner;

    return !e->pending_limit || e->pending < e->pending_limit;
}

static void on_connected(void *owner, struct http_client_conn *c)
{
    (void)c;
    ((struct env *)owner)->connected++;
}

static void on_conn_closed(void *owner, struct http_client_conn *c, bool was_ready,
                           enum conn_close why, uint32_t active)
{
    (void)c;
    (void)was_ready;
    (void)why;
    (void)active;
    ((struct env *)owner)->conns_closed++;
}

static void on_pending(void *owner, int delta)
{
    ((struct env *)owner)->pending += delta;
}

static void on_active(void *owner, int delta)
{
    ((struct env *)owner)->active += delta;
}

static void on_max_requests(void *owner)
{
    ((struct env *)owner)->max_requests++;
}

static void on_idle_timeout(void *owner)
{
    ((struct env *)owner)->idle_timeouts++;
}

static void on_empty(void *owner)
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

static struct env *env_new(void)
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

static void turn(struct env *e)
{
    for (int i = 0; i < 8; i++) {
        loop_turn(e->loop, 0);
        for (int k = 0; k < e->connects; k++)
            peer_read(&e->peers[k]);
    }
}

static void env_free(struct env *e)
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

static void send_get(struct http_stream *s)
{
    struct headers h;

    headers_init(&h, s->arena);
    headers_add_id_ref(&h, HDR_METHOD, STR("GET"));
    headers_add_id_ref(&h, HDR_SCHEME, STR("http"));
    headers_add_id_ref(&h, HDR_AUTHORITY, STR("h"));
    headers_add_id_ref(&h, HDR_PATH, STR("/"));
    stream_send_headers(s, &h, true);
}

static void on_stream(void *user, struct http_stream *s, struct http_client_conn *c)
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

static struct user *request(struct env *e, bool fresh);

static void on_failed(void *user, enum stream_reset why, const char *text, struct conn *conn)
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

static struct user *request(struct env *e, bool fresh)
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
static void answer(struct env *e, int at)
{
    peer_send(&e->peers[at], "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    turn(e);
}

/* ---- HTTP/1 ---- */

static void test_pool__one_after_the_other__one_connection(void **state)
{
    (void)state;
    struct env *e = env_new();

    for (int i = 0; i < 3; i++) {
        struct user *u = request(e, false);
        assert_int_equal(u->waiting != NULL, i == 0);
        turn(e);
        assert_int_equal(e->active, 1);
        answer(e, 0);
        assert_string_equal(rec_log(&u->rec), "H:200 D:2. C:OK ");
        assert_int_equal(e->active, 0);
    }
    assert_int_equal(e->connects, 1);
    assert_int_equal(http_pool_connection_count(e->pool), 1);
    env_free(e);
}

static void test_pool__at_once__a_connection_each_then_last_used_first(void **state)
{
    (void)state;
    struct env *e = env_new();

    for (int i = 0; i < 3; i++)
        request(e, false);
    assert_int_equal(e->connects, 3);
    assert_int_equal(e->pending, 3);
    turn(e);
    assert_int_equal(e->active, 3);
    struct http_client_conn *last = e->users[1].c;
    for (int i = 0; i < 3; i++) {
        const int order[] = {0, 2, 1};
        answer(e, order[i]);
    }
    struct user *u = request(e, false);
    assert_int_equal(e->connects, 3);
    assert_ptr_equal(u->c, last);
    env_free(e);
}

static void test_pool__connection_limit__waits_in_order(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->conn_limit = 1;
    for (int i = 0; i < 3; i++)
        request(e, false);
    turn(e);
    assert_int_equal(e->connects, 1);
    for (int i = 0; i < 3; i++) {
        assert_non_null(e->users[i].rec.s);
        assert_int_equal(e->pending, 2 - i);
        answer(e, 0);
        assert_true(e->users[i].rec.closed);
    }
    env_free(e);
}

static void test_pool__limit_reached_elsewhere__still_one_connection(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->conn_limit = 1;
    e->conns_closed = -1; /* another pool of the same cluster has one */
    struct user *u = request(e, false);
    turn(e);
    assert_non_null(u->rec.s);
    e->conns_closed++;
    env_free(e);
}

static void test_pool__pending_limit__overflow(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->pending_limit = 1;
    request(e, false);
    struct user *u = request(e, false);
    assert_true(u->failed);
    assert_int_equal(u->why, STREAM_OVERFLOW);
    env_free(e);
}

static void test_pool__connect_fails__all_waiting_fail(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->far = FAR_REFUSED;
    for (int i = 0; i < 2; i++)
        request(e, false);
    for (int i = 0; i < 100 && e->conns_closed < 2; i++)
        loop_turn(e->loop, 1);
    for (int i = 0; i < 2; i++) {
        assert_true(e->users[i].failed);
        assert_int_equal(e->users[i].why, STREAM_CONNECT_FAILED);
    }
    assert_int_equal(e->empties, 1);
    env_free(e);
}

static void test_pool__retry_inside_on_failed__gets_a_new_connection(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->far = FAR_REFUSED;
    request(e, false)->retry_when_failed = true;
    e->far = FAR_RAW;
    for (int i = 0; i < 100 && e->user_count < 2; i++)
        loop_turn(e->loop, 1);
    turn(e);
    assert_true(e->users[0].failed);
    assert_non_null(e->users[1].rec.s);
    assert_int_equal(e->empties, 0);
    env_free(e);
}

static void test_pool__connect_refuses__fails_at_once(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->far = FAR_NONE;
    struct user *u = request(e, false);
    assert_true(u->failed);
    assert_int_equal(u->why, STREAM_CONNECT_FAILED);
    env_free(e);
}

static void test_pool__idle_timeout__closes_idle_ones_only(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->opts.idle_timeout_ms = 5;
    request(e, false);
    request(e, false);
    turn(e);
    answer(e, 0);
    for (int i = 0; i < 1000 && !e->conns_closed; i++)
        loop_turn(e->loop, 1);
    assert_int_equal(e->conns_closed, 1);
    assert_int_equal(e->idle_timeouts, 1);
    assert_false(e->users[1].rec.closed);
    answer(e, 1);
    for (int i = 0; i < 1000 && e->conns_closed < 2; i++)
        loop_turn(e->loop, 1);
    assert_int_equal(e->idle_timeouts, 2);
    assert_int_equal(e->empties, 1);
    env_free(e);
}

static void test_pool__max_requests_per_connection__new_one_after(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->opts.max_requests_per_connection = 2;
    for (int i = 0; i < 3; i++) {
        request(e, false);
        turn(e);
        answer(e, e->connects - 1);
    }
    assert_int_equal(e->connects, 2);
    assert_int_equal(e->max_requests, 1);
    assert_int_equal(e->conns_closed, 1);
    env_free(e);
}

static void test_pool__peer_closes_idle_connection__leaves_at_once(void **state)
{
    (void)state;
    struct env *e = env_new();

    request(e, false);
    turn(e);
    answer(e, 0);
    shutdown(e->peers[0].fd, SHUT_RDWR);
    turn(e);
    assert_int_equal(http_pool_connection_count(e->pool), 0);
    assert_int_equal(e->empties, 1);
    env_free(e);
}

static void test_pool__fresh__never_a_used_connection(void **state)
{
    (void)state;
    for (int limit = 0; limit < 2; limit++) {
        struct env *e = env_new();

        e->conn_limit = limit;
        request(e, false);
        turn(e);
        answer(e, 0);
        struct user *u = request(e, true);
        assert_null(u->rec.s);
        turn(e);
        assert_int_equal(e->connects, 2);
        assert_int_equal(e->conns_closed, limit); /* made room */
        assert_non_null(u->rec.s);
        assert_false(u->rec.s->reused_connection);
        env_free(e);
    }
}

static void test_pool__cancel__place_given_up(void **state)
{
    (void)state;
    struct env *e = env_new();

    struct user *u = request(e, false);
    http_pool_cancel(u->waiting);
    turn(e);
    assert_null(u->rec.s);
    assert_false(u->failed);
    assert_int_equal(http_pool_connection_count(e->pool), 1); /* for the next */
    assert_non_null(request(e, false)->rec.s);
    env_free(e);
}

static void test_pool__drain__idle_close_busy_finish_waiting_served(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->conn_limit = 2;
    for (int i = 0; i < 2; i++)
        request(e, false);
    turn(e);
    answer(e, 1);
    http_pool_drain(e->pool);
    assert_int_equal(e->conns_closed, 1);
    e->conn_limit = 1;
    request(e, false); /* still one that was on its way */
    answer(e, 0);
    assert_non_null(e->users[2].rec.s);
    assert_int_equal(e->empties, 0);
    answer(e, 0);
    assert_true(e->users[2].rec.closed);
    assert_int_equal(e->empties, 1);
    env_free(e);
}

/* The pool stays; what it has is not used again, and a busy connection must not be left open for nobody. */
static void test_pool__retire__idle_close_busy_end_with_their_request(void **state)
{
    (void)state;
    struct env *e = env_new();

    for (int i = 0; i < 2; i++)
        request(e, false);
    turn(e);
    answer(e, 1);
    http_pool_retire_connections(e->pool);
    assert_int_equal(e->conns_closed, 1);
    assert_false(e->users[0].rec.closed);
    answer(e, 0);
    assert_true(e->users[0].rec.closed);
    assert_int_equal(e->conns_closed, 2);
    request(e, false);
    turn(e);
    assert_int_equal(e->connects, 3);
    env_free(e);
}

/* What a balancer expects: connections for the next request, and none beyond the ratio. */
static void test_pool__preconnect__ahead_of_the_request_within_the_ratio(void **state)
{
    (void)state;
    struct env *e = env_new();
    uint64_t pending = 0, active = 0, room = 0;

    assert_true(http_pool_preconnect(e->pool, 2));
    assert_true(http_pool_preconnect(e->pool, 2));
    assert_false(http_pool_preconnect(e->pool, 2));
    http_pool_load(e->pool, &pending, &active, &room);
    assert_int_equal(pending + active, 0);
    assert_int_equal(room, 2);
    turn(e);
    request(e, false);
    turn(e);
    assert_int_equal(e->connects, 2);
    http_pool_load(e->pool, &pending, &active, &room);
    assert_int_equal(active, 1);
    assert_int_equal(room, 3); /* added to the 2 of before */
    answer(e, 0);
    env_free(e);
}

static void test_pool__drain_when_empty__told_at_once(void **state)
{
    (void)state;
    struct env *e = env_new();

    http_pool_drain(e->pool);
    assert_int_equal(e->empties, 1);
    env_free(e);
}

static void test_pool__free__waiting_fail_and_streams_end(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->conn_limit = 1;
    request(e, false);
    request(e, false);
    turn(e);
    http_pool_free(&e->pool);
    assert_int_equal(e->users[0].rec.why, STREAM_TERMINATED);
    assert_int_equal(e->users[1].why, STREAM_LOCAL);
    env_free(e);
}

static void test_pool__freed_inside_callbacks__nothing_told_twice(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->free_in_stream = true;
    request(e, false);
    request(e, false);
    turn(e);
    assert_null(e->pool);
    assert_true(e->users[0].rec.closed);
    assert_true(e->users[1].failed || e->users[1].rec.closed);
    env_free(e);

    e = env_new();
    e->far = FAR_REFUSED;
    e->free_when_failed = true;
    for (int i = 0; i < 3; i++)
        request(e, false);
    for (int i = 0; i < 100 && e->pool; i++)
        loop_turn(e->loop, 1);
    for (int i = 0; i < 3; i++)
        assert_true(e->users[i].failed);
    env_free(e);
}

static void test_pool__stream_ended_inside_on_stream__connection_goes_on(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->reset_in_stream = true;
    e->conn_limit = 1;
    for (int i = 0; i < 3; i++)
        request(e, false);
    turn(e);
    for (int i = 0; i < 3; i++)
        assert_true(e->users[i].rec.closed);
    assert_int_equal(e->connects, 1);
    assert_int_equal(http_pool_connection_count(e->pool), 1);
    env_free(e);
}

static void test_pool__connection_dies_with_requests_waiting__another_is_made(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->conn_limit = 1;
    request(e, false);
    request(e, false);
    turn(e);
    shutdown(e->peers[0].fd, SHUT_RDWR);
    turn(e);
    assert_int_equal(e->users[0].rec.why, STREAM_TERMINATED);
    assert_int_equal(e->connects, 2);
    answer(e, 1);
    assert_string_equal(rec_log(&e->users[1].rec), "H:200 D:2. C:OK ");
    env_free(e);
}

static void test_pool__preconnect__keeps_spare_connections(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->opts.preconnect_ratio = 2.0f;
    request(e, false);
    assert_int_equal(e->connects, 2);
    turn(e);
    assert_int_equal(e->active, 1);
    assert_non_null(request(e, false)->rec.s);
    assert_int_equal(e->connects, 4);
    env_free(e);
}

/* ---- HTTP/2 ---- */

static struct env *env_h2(void)
{
    struct env *e = env_new();

    e->far = FAR_H2;
    e->opts.protocol = HTTP_2;
    return e;
}

static void test_pool__h2__streams_share_one_connection(void **state)
{
    (void)state;
    struct env *e = env_h2();

    for (int i = 0; i < 5; i++)
        request(e, false);
    turn(e);
    assert_int_equal(e->connects, 1);
    assert_int_equal(e->active, 5);
    assert_int_equal(e->far_count, 5);
    for (int i = 0; i < 5; i++)
        answer_ok(e->far_streams[i].s);
    turn(e);
    for (int i = 0; i < 5; i++)
        assert_string_equal(rec_log(&e->users[i].rec), "H:200 D:2. C:OK ");
    assert_int_equal(e->active, 0);
    env_free(e);
}

static void test_pool__h2_stream_limit__further_connections(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++) {
        struct env *e = env_h2();

        if (own)
            e->opts.max_concurrent_streams = 2;
        else
            e->server.h2.max_concurrent_streams = 2;
        request(e, false); /* now the peer's limit is known */
        turn(e);
        answer_ok(e->far_streams[0].s);
        turn(e);
        for (int i = 0; i < 5; i++)
            request(e, false);
        for (int i = 0; i < 4; i++)
            turn(e);
        assert_int_equal(e->active, 5);
        assert_int_equal(e->connects, 3);
        env_free(e);
    }
}

static void test_pool__h2_goaway__new_requests_elsewhere(void **state)
{
    (void)state;
    struct env *e = env_h2();

    request(e, false);
    turn(e);
    http_server_conn_drain(e->far_conns[0]);
    turn(e);
    request(e, false);
    turn(e);
    assert_int_equal(e->connects, 2);
    assert_int_equal(e->far_count, 2);
    answer_ok(e->far_streams[0].s);
    turn(e);
    assert_string_equal(rec_log(&e->users[0].rec), "H:200 D:2. C:OK ");
    assert_int_equal(http_pool_connection_count(e->pool), 1);
    env_free(e);
}

static void test_pool__h2_max_requests__connection_replaced(void **state)
{
    (void)state;
    struct env *e = env_h2();

    e->opts.max_requests_per_connection = 2;
    for (int i = 0; i < 3; i++) {
        request(e, false);
        turn(e);
        answer_ok(e->far_streams[i].s);
        turn(e);
    }
    assert_int_equal(e->connects, 2);
    assert_int_equal(e->max_requests, 1);
    env_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool__one_after_the_other__one_connection),
        cmocka_unit_test(test_pool__at_once__a_connection_each_then_last_used_first),
        cmocka_unit_test(test_pool__connection_limit__waits_in_order),
        cmocka_unit_test(test_pool__limit_reached_elsewhere__still_one_connection),
        cmocka_unit_test(test_pool__pending_limit__overflow),
        cmocka_unit_test(test_pool__connect_fails__all_waiting_fail),
        cmocka_unit_test(test_pool__retry_inside_on_failed__gets_a_new_connection),
        cmocka_unit_test(test_pool__connect_refuses__fails_at_once),
        cmocka_unit_test(test_pool__idle_timeout__closes_idle_ones_only),
        cmocka_unit_test(test_pool__max_requests_per_connection__new_one_after),
        cmocka_unit_test(test_pool__peer_closes_idle_connection__leaves_at_once),
        cmocka_unit_test(test_pool__fresh__never_a_used_connection),
        cmocka_unit_test(test_pool__cancel__place_given_up),
        cmocka_unit_test(test_pool__drain__idle_close_busy_finish_waiting_served),
        cmocka_unit_test(test_pool__retire__idle_close_busy_end_with_their_request),
        cmocka_unit_test(test_pool__preconnect__ahead_of_the_request_within_the_ratio),
        cmocka_unit_test(test_pool__drain_when_empty__told_at_once),
        cmocka_unit_test(test_pool__free__waiting_fail_and_streams_end),
        cmocka_unit_test(test_pool__freed_inside_callbacks__nothing_told_twice),
        cmocka_unit_test(test_pool__stream_ended_inside_on_stream__connection_goes_on),
        cmocka_unit_test(test_pool__connection_dies_with_requests_waiting__another_is_made),
        cmocka_unit_test(test_pool__preconnect__keeps_spare_connections),
        cmocka_unit_test(test_pool__h2__streams_share_one_connection),
        cmocka_unit_test(test_pool__h2_stream_limit__further_connections),
        cmocka_unit_test(test_pool__h2_goaway__new_requests_elsewhere),
        cmocka_unit_test(test_pool__h2_max_requests__connection_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
