/* SPDX-License-Identifier: Apache-2.0
 *
 * Questions by TCP: a connection that comes about is answer enough where nothing is to be received;
 * else bytes go out and what comes back must hold the expected parts in order. Main thread.
 *
 * What a host sends is kept up to a limit, past which it has failed: it isn't saying what was asked.
 */
#include "base/mem.h"
#include "proxy/health/health_priv.h"

#define ANSWER_BYTES ((size_t)64 << 10)

static void close_conn(struct health_session *s)
{
    struct conn *c = s->conn;
    s->conn = NULL;
    if (c)
        conn_close(c, CONN_CLOSE_LOCAL);
}

static void send_question(struct health_session *s)
{
    struct str bytes = s->checker->spec->send;
    if (!bytes.n)
        return;
    buf_append(conn_out(s->conn), bytes.p, bytes.n);
    conn_flush_later(s->conn);
}

static void pass(struct health_session *s, bool keep)
{
    if (!keep)
        close_conn(s);
    health_passed(s, false);
}

static void on_connected(struct conn *c, void *user)
{
    (void)c;
    struct health_session *s = user;
    if (!s->asking)
        return;
    if (!s->checker->spec->receive_count)
        pass(s, false);
    else
        send_question(s);
}

static void on_data(struct conn *c, void *user)
{
    struct health_session *s = user;
    const struct health_spec *spec = s->checker->spec;
    if (!s->asking) {
        buf_drain(conn_in(c), conn_in(c)->len);
        return;
    }
    health_http_keep(s, conn_in(c), ANSWER_BYTES);
    if (health_payload_matches(spec->receive, spec->receive_count, strbuf_str(&s->received))) {
        pass(s, spec->reuse_connection);
    } else if (s->received.n >= ANSWER_BYTES) {
        close_conn(s);
        health_failed(s, HEALTH_ACTIVE, false);
    }
}

/* A connection that the host ends says no even between questions (Envoy: the same). */
static void lose(struct health_session *s)
{
    if (!s->gone)
        health_failed(s, HEALTH_NETWORK, false);
}

static void on_end(struct conn *c, void *user)
{
    (void)c;
    struct health_session *s = user;
    close_conn(s);
    lose(s);
}

static void on_closed(struct conn *c, void *user, enum conn_close why)
{
    (void)c, (void)why;
    struct health_session *s = user;
    s->conn = NULL;
    lose(s);
}

static const struct conn_handler handler = {
    .on_connected = on_connected, .on_data = on_data, .on_end = on_end, .on_closed = on_closed};

/* PROXY protocol with nobody behind it (LOCAL, UNKNOWN): the check speaks for itself. */
static struct str own_header(const struct health_spec *spec)
{
    static const char v1[] = "PROXY UNKNOWN\r\n";
    static const char v2[] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    switch (spec->proxy_protocol_version) {
    case 1:
        return str_make(v1, sizeof(v1) - 1);
    case 2:
        return str_make(v2, sizeof(v2) - 1);
    default:
        return STR_NULL;
    }
}

static void start(struct health_session *s)
{
    s->received.n = 0;
    if (s->conn) {
        send_question(s);
        return;
    }
    s->conn = health_connect(s, NULL, 0, own_header(s->checker->spec), &handler, s);
    if (!s->conn)
        lose(s);
}

static void stop(struct health_session *s, bool forget)
{
    (void)forget;
    s->asking = false;
    close_conn(s);
}

const struct health_probe health_tcp_probe = {.start = start, .stop = stop};
