/* SPDX-License-Identifier: Apache-2.0
 *
 *   start --jail--> waiting for OPEN --good--> answering --end of file--> exit
 *                        |  ^
 *                        +--+ refused: says why, and may be asked again
 *
 * One thread, one request at a time, no state but the authority's. Whoever stops a whole service with SIGTERM means weftd,
 * which may still want something signed: only weftd's end of the pair ends this process, or a SIGKILL, which at any moment
 * leaves its files whole. What it answers is public; what it reads was bounded by the packet.
 */
#include "control/ca/signer_process.h"

#include "base/clock.h"
#include "base/mem.h"
#include "control/ca/signer_jail.h"
#include "control/ca/signer_wire.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define EXIT_CALLER 2
#define EXIT_LOST 3 /* a packet that can't be read, or an answer that can't be sent */

struct signer_state {
    struct authority *authority; /* NULL: not open */
    struct strbuf pem, packet;
    struct authority_leaf leaf;
    struct err err;
};

bool signer_is_asked_for(int argc, char **argv)
{
    return argc == 2 && str_eq(str_from(argv[1]), STR(SIGNER_ARGUMENT));
}

static int64_t now_s(void)
{
    return (int64_t)(clock_wall_us() / 1000000);
}

/* ---- answering ---- */

static int open_authority(struct signer_state *s, const struct signer_open *o)
{
    if (s->authority)
        return err_set(&s->err, ERR_STATE, "the authority is open already");
    if (o->is_plugged_in) {
        s->authority = authority_new_plugged_in(&o->authority, o->path, now_s(), &s->err);
    } else {
        char *path = mem_strndup(o->path.p, o->path.n);
        struct ca_store *store = ca_file_store_new(path, &s->err);
        s->authority = store ? authority_new_self_signed(&o->authority, store, now_s(), &s->err) : NULL;
        if (!s->authority && !s->err.path[0])
            err_prefix(&s->err, "%s", path);
        mem_free(path);
    }
    if (!s->authority)
        return s->err.code;
    return authority_tick(s->authority, now_s(), &s->err);
}

static int answer(struct signer_state *s, const struct signer_request *q)
{
    if (q->kind != SIGNER_OPEN && !s->authority)
        return err_set(&s->err, ERR_STATE, "no authority is open");
    switch (q->kind) {
    case SIGNER_OPEN:
        return open_authority(s, &q->open);
    case SIGNER_SIGN:
        return authority_sign(s->authority, &q->sign, now_s(), &s->pem, &s->leaf, &s->err);
    case SIGNER_TICK:
        return authority_tick(s->authority, now_s(), &s->err);
    case SIGNER_ROTATE:
        return authority_rotate(s->authority, now_s(), &s->err);
    case SIGNER_RELOAD:
        return authority_reload(s->authority, now_s(), &s->err);
    }
    return err_set(&s->err, ERR_UNSUPPORTED, "an unknown request");
}

static bool reply(struct signer_state *s, const struct signer_request *q, int code)
{
    char message[ERR_MESSAGE_BYTES + ERR_PATH_BYTES];
    struct signer_response r = {.id = q->id, .kind = q->kind, .code = code, .has_trust = s->authority != NULL};
    if (code) {
        r.message = str_from(err_format(&s->err, message, sizeof message));
    } else if (q->kind == SIGNER_SIGN) {
        r.leaf = strbuf_str(&s->pem);
        r.serial_hex = str_from(s->leaf.serial_hex);
        r.leaf_until_s = s->leaf.until_s;
    }
    if (s->authority)
        authority_trust(s->authority, &r.trust);
    if (signer_response_write(&r, &s->packet, &s->err) < 0)
        return false;
    ssize_t n;
    do
        n = send(SIGNER_FD, s->packet.p, s->packet.n, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)s->packet.n;
}

static bool serve(struct signer_state *s, struct str packet)
{
    struct signer_request q;
    struct arena a;
    arena_init(&a, 0);
    s->err = (struct err){0};
    strbuf_reset(&s->pem);
    bool ok = signer_request_read(&a, packet, &q, &s->err) == 0 && reply(s, &q, answer(s, &q));
    arena_fini(&a);
    return ok;
}

/* ---- the process ---- */

static bool is_called_by_weftd(void)
{
    int type = 0, domain = 0;
    socklen_t n = sizeof type;
    return getsockopt(SIGNER_FD, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_SEQPACKET &&
           getsockopt(SIGNER_FD, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && domain == AF_UNIX;
}

/* The exit status. */
static int serve_until_closed(struct signer_state *s)
{
    char *in = mem_alloc(SIGNER_PACKET_MAX_BYTES);
    ssize_t n;
    for (;;) {
        n = recv(SIGNER_FD, in, SIGNER_PACKET_MAX_BYTES, MSG_TRUNC);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || (size_t)n > SIGNER_PACKET_MAX_BYTES || !serve(s, str_make(in, (size_t)n)))
            break;
    }
    mem_free(in);
    return n == 0 ? 0 : EXIT_LOST;
}

_Noreturn void signer_main(void)
{
    struct signer_state s = {0};
    if (!is_called_by_weftd()) {
        fputs("weftd " SIGNER_ARGUMENT " is for weftd itself to start\n", stderr);
        _exit(EXIT_CALLER);
    }
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a write that fails is told, not died of */
    signer_jail_enter();
    int status = serve_until_closed(&s);
    authority_free(&s.authority);
    strbuf_fini(&s.pem);
    strbuf_fini(&s.packet);
    _exit(status); /* what was to happen at an exit is weftd's business */
}
