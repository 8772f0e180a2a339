/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS as a connection's transport: OpenSSL above, conn_sock_*() below, on the connection's worker.
 *
 * Costs are system calls and copies. Reading: OpenSSL's own read-ahead buffer takes as much as the
 * socket has in one read(2), our BIO under it knows from a short read that there is no more, and
 * plain bytes are decrypted into the connection's blocks. Writing: small pieces are gathered into
 * full records, and while several records are made their ciphertext is kept back (corked) for one
 * writev(2). What the socket doesn't take waits in `tx`; OpenSSL never sees a full socket, so there
 * are no half-written records to retry. OpenSSL gives its buffers back when they are empty, and an
 * empty buf holds no memory: an idle connection has none.
 *
 * handshake: AGAIN -> (AGAIN ...) -> OK | EOF | FAIL. After FAIL only shutdown and free follow.
 * A peer's close_notify and a bare FIN are both the end of its stream, as with Envoy.
 */
#include "io/io_priv.h"
#include "io/tls_priv.h"

#include <errno.h>

#include "base/check.h"
#include "base/mem.h"

enum {
    RECORD_BYTES = 16384,
    RECORD_WHOLE_BYTES = 8192, /* a first slice this large is a record of its own, uncopied */
    TX_FLUSH_BYTES = 128 * 1024,
    /* A peer that asks for key updates and never reads makes us answer into tx for ever. */
    TX_LIMIT_BYTES = 512 * 1024,
    READ_ROOM_BYTES = 2048,
    WRITEV_MAX = 16,
};

/* ---- the BIO under OpenSSL ---- */
static int bio_read(BIO *bio, char *p, size_t n, size_t *got)
{
    struct tls_session *s = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (s->early.len) {
        *got = buf_copy_out(&s->early, 0, p, n);
        buf_drain(&s->early, *got);
        return 1;
    }
    ssize_t r = conn_sock_read(s->conn, p, n);
    if (r > 0) {
        *got = (size_t)r;
        return 1;
    }
    *got = 0;
    if (r == 0)
        s->peer_closed = true;
    else if (r == -EAGAIN)
        BIO_set_retry_read(bio);
    else
        s->read_errno = (int)-r;
    return 0;
}

static int bio_write(BIO *bio, const char *p, size_t n, size_t *done)
{
    struct tls_session *s = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *done = 0;
    if (s->tx.len > TX_LIMIT_BYTES) {
        s->write_errno = ENOBUFS;
        return 0;
    }
    ssize_t r = 0;
    if (!s->corked && s->tx.len == 0) {
        r = conn_sock_write(s->conn, p, n);
        if (r < 0 && r != -EAGAIN) {
            s->write_errno = (int)-r;
            return 0;
        }
        r = r < 0 ? 0 : r;
    }
    buf_append(&s->tx, p + r, n - (size_t)r);
    *done = n;
    return 1;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *arg)
{
    (void)num;
    (void)arg;
    const struct tls_session *s = BIO_get_data(bio);
    if (cmd == BIO_CTRL_EOF)
        return s->peer_closed;
    return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP || cmd == BIO_CTRL_PUSH;
}

static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "connection");
    CHECK(bio_method);
    BIO_meth_set_read_ex(bio_method, bio_read);
    BIO_meth_set_write_ex(bio_method, bio_write);
    BIO_meth_set_ctrl(bio_method, bio_ctrl);
}

static bool attach_bio(struct tls_session *s)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_bio_method);
    BIO *bio = BIO_new(bio_method);
    if (!bio)
        return false;
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    SSL_set_bio(s->ssl, bio, bio);
    return true;
}

static enum io_result flush_tx(struct tls_session *s)
{
    while (s->tx.len) {
        struct iovec iov[WRITEV_MAX];
        int count = buf_iov(&s->tx, iov, WRITEV_MAX);
        ssize_t r = conn_sock_writev(s->conn, iov, count);
        if (r == -EAGAIN)
            return IO_AGAIN;
        if (r < 0) {
            s->write_errno = (int)-r;
            return IO_FAIL;
        }
        buf_drain(&s->tx, (size_t)r);
    }
    return IO_OK;
}

/* ---- failures ---- */
static enum tls_failure classify(void)
{
    int reason = ERR_GET_REASON(ERR_peek_error());
    if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        return TLS_FAILURE_NO_CERT;
    return reason == SSL_R_CERTIFICATE_VERIFY_FAILED ? TLS_FAILURE_VERIFY : TLS_FAILURE_PROTOCOL;
}

/* The alert that OpenSSL wrote goes out as far as the socket takes it. */
static enum io_result fail(struct tls_session *s)
{
    int socket_errno = s->read_errno ? s->read_errno : s->write_errno;
    s->broken = true;
    if (ERR_peek_error() == 0 && socket_errno) {
        char text[64];
        conn_set_failure_text(s->conn, "%s", strerror_r(socket_errno, text, sizeof text));
        return IO_FAIL;
    }
    if (s->failure == TLS_FAILURE_NONE || !s->verify_failed)
        s->failure = classify();
    char *text = tls_errors_take(s->verify_text);
    conn_set_failure_text(s->conn, "%s", text);
    mem_free(text);
    flush_tx(s);
    return IO_FAIL;
}

/* What a call that moved nothing means; nothing is left in the error queue. */
static enum io_result result_of(struct tls_session *s, int rc)
{
    switch (SSL_get_error(s->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return IO_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return IO_EOF;
    case SSL_ERROR_SYSCALL:
        if (s->peer_closed && !s->read_errno && !s->write_errno && ERR_peek_error() == 0)
            return IO_EOF;
        return fail(s);
    default:
        return fail(s);
    }
}

/* ---- the transport's operations ---- */
static struct tls_session *enter(void *state, struct conn *c)
{
    struct tls_session *s = OBJECT(tls_session, TLS_SESSION_MAGIC, state);
    s->conn = c;
    tls_errors_clear();
    return s;
}

static enum io_result tls_handshake(void *state, struct conn *c)
{
    struct tls_session *s = enter(state, c);
    if (s->broken)
        return IO_FAIL;
    /* Tickets are read and written in this thread's context, not in the SSL_CTX's. */
    OSSL_LIB_CTX *before = OSSL_LIB_CTX_set0_default(tls_library());
    int rc = SSL_do_handshake(s->ssl);
    OSSL_LIB_CTX_set0_default(before);
    enum io_result result = rc == 1 ? IO_OK : result_of(s, rc);
    if (result == IO_OK && !tls_session_finish(s)) {
        SSL_shutdown(s->ssl);
        result = fail(s);
    }
    if (result == IO_OK || result == IO_AGAIN) {
        if (flush_tx(s) == IO_FAIL)
            return fail(s);
    }
    if (result == IO_OK) /* the first request may have come together with the peer's Finished */
        s->read_stopped = SSL_has_pending(s->ssl) || s->early.len;
    return result;
}

/* Stops without asking OpenSSL once more where that could only end in "nothing there". */
static bool may_have_more(const struct tls_session *s)
{
    return SSL_has_pending(s->ssl) || s->early.len || conn_sock_readable(s->conn);
}

static enum io_result tls_read(void *state, struct conn *c, struct buf *in, size_t max, size_t *n)
{
    struct tls_session *s = enter(state, c);
    *n = 0;
    s->read_stopped = false;
    if (s->broken)
        return IO_FAIL;
    while (*n < max) {
        size_t room, got = 0;
        uint8_t *p = buf_reserve(in, READ_ROOM_BYTES, &room);
        int rc = SSL_read_ex(s->ssl, p, room, &got);
        buf_commit(in, got);
        *n += got;
        if (rc == 1 && (*n >= max || may_have_more(s)))
            continue;
        if (rc == 1)
            return IO_OK;
        enum io_result result = result_of(s, rc);
        s->read_stopped = *n > 0 && result != IO_AGAIN; /* told by the next call */
        return *n ? IO_OK : result;
    }
    s->read_stopped = true;
    return IO_OK;
}

static bool fits_one_record(const struct buf *out)
{
    size_t front = buf_front(out).n;
    return out->len <= RECORD_BYTES && (front == out->len || front < RECORD_WHOLE_BYTES);
}

/* The next record's bytes: the first slice where it is large, else small ones put together. */
static struct str next_record(struct buf *out)
{
    static __thread uint8_t joined[RECORD_BYTES];
    struct str front = buf_front(out);
    if (front.n >= RECORD_BYTES)
        return str_make(front.p, RECORD_BYTES);
    if (front.n == out->len || front.n >= RECORD_WHOLE_BYTES)
        return front;
    return str_make((char *)joined, buf_copy_out(out, 0, joined, RECORD_BYTES));
}

static enum io_result write_records(struct tls_session *s, struct buf *out, size_t *n)
{
    while (out->len) {
        if (s->tx.len >= TX_FLUSH_BYTES) {
            enum io_result flushed = flush_tx(s);
            if (flushed != IO_OK)
                return flushed;
        }
        size_t done = 0;
        struct str record = next_record(out);
        int rc = SSL_write_ex(s->ssl, record.p, record.n, &done);
        if (rc != 1 && s->write_errno) {
            tls_errors_clear();
            return IO_FAIL; /* the socket; what the peer said before can still be read */
        }
        if (rc != 1) {
            enum io_result result = result_of(s, rc);
            return result == IO_EOF ? fail(s) : result;
        }
        buf_drain(out, done);
        *n += done;
    }
    return IO_OK;
}

static enum io_result tls_write(void *state, struct conn *c, struct buf *out, size_t *n)
{
    struct tls_session *s = enter(state, c);
    *n = 0;
    if (s->broken)
        return IO_FAIL;
    enum io_result result = flush_tx(s);
    if (result == IO_OK && out->len) {
        s->corked = !fits_one_record(out);
        result = write_records(s, out, n);
        s->corked = false;
        if (result == IO_OK || result == IO_AGAIN) {
            enum io_result flushed = flush_tx(s);
            result = flushed == IO_OK ? result : flushed;
        }
    }
    return result;
}

static enum io_result tls_shutdown(void *state, struct conn *c)
{
    struct tls_session *s = enter(state, c);
    if (s->broken)
        return IO_OK;
    if (s->done && !(SSL_get_shutdown(s->ssl) & SSL_SENT_SHUTDOWN))
        SSL_shutdown(s->ssl);
    tls_errors_clear();
    return flush_tx(s) == IO_AGAIN ? IO_AGAIN : IO_OK;
}

static bool tls_has_pending(const void *state)
{
    const struct tls_session *s = state;
    return s->read_stopped;
}

static bool tls_wants_write(const void *state)
{
    const struct tls_session *s = state;
    return s->tx.len > 0;
}

static struct tls_session *tls_session_state(void *state)
{
    return state;
}

static void tls_free(void *state)
{
    struct tls_session *s = OBJECT(tls_session, TLS_SESSION_MAGIC, state);
    tls_session_free(&s);
}

static const struct transport_ops tls_ops = {
    .handshake = tls_handshake,
    .read = tls_read,
    .write = tls_write,
    .shutdown = tls_shutdown,
    .has_pending = tls_has_pending,
    .wants_write = tls_wants_write,
    .session = tls_session_state,
    .free = tls_free,
};

int conn_start_tls(struct conn *c, struct tls_context *ctx, const struct tls_client_opts *opts,
                   struct err *err)
{
    if (ctx->server != conn_is_server(c))
        return err_set(err, ERR_STATE, "a %s context on a connection of the other side",
                       ctx->server ? "server" : "client");
    struct tls_session *s = tls_session_new(ctx, opts, err);
    if (!s)
        return err ? err->code : ERR_TLS;
    s->conn = c;
    if (!attach_bio(s)) {
        tls_session_free(&s);
        return err_set(err, ERR_NOMEM, "OpenSSL cannot make a BIO");
    }
    buf_move(&s->early, conn_in(c));
    conn_set_transport(c, &tls_ops, s);
    return 0;
}
