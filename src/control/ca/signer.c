/* SPDX-License-Identifier: Apache-2.0
 *
 *   DOWN --due--> OPENING --OPEN answered--> UP
 *    ^               |                        |
 *    |               +--refused, dead, mute---+--> STOPPING (killed) --reaped--> DOWN, back-off
 *
 * A death while it serves is an accident: calls stay and are sent to the next one, each at most twice, since one of them may be
 * what kills it. A refusal to open (a broken file) is a state: calls fail at once with its reason, and it is tried again, as
 * somebody may mend the file. The process is reaped by its pidfd, so that nothing here ever waits for it. One loop's thread.
 */
#include "control/ca/signer.h"

#include "base/log.h"
#include "base/mem.h"
#include "control/ca/signer_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WINDOW 32u          /* requests in the socket at a time */
#define TICK_MS 60000
#define BACKOFF_BASE_MS 50
#define BACKOFF_MAX_MS 5000
#define SENDS_MAX 2u

enum state { DOWN, OPENING, UP, STOPPING };

struct signer_call {
    struct list node;
    struct signer *signer;
    uint32_t id;
    enum signer_kind kind;
    struct strbuf packet;
    uint64_t due_us;
    unsigned sends;
    bool is_sent, is_cancelled; /* cancelled and sent: its answer is awaited all the same */
    signer_fn fn;
    void *user;
};

struct signer {
    struct deferred deferred;
    struct signer_opts opts;
    struct str path, trust_domain; /* opts' own */
    enum state state;
    bool is_refused, is_freed;
    pid_t pid;
    int fd, pid_fd;
    struct watch socket, process;
    struct timer timer;
    struct list calls;             /* oldest first */
    uint32_t count, sent, next_id;
    uint64_t tick_at_us, start_at_us, backoff_ms;
    struct ca_trust trust;
    struct str bundle, chain;      /* trust's own */
    char *in;                      /* a packet */
    char why[ERR_MESSAGE_BYTES + ERR_PATH_BYTES];
};

static void plan(struct signer *s);
static void stop(struct signer *s, const char *why);

/* ---- calls ---- */

static void call_free(struct signer_call *c)
{
    struct signer *s = c->signer;
    list_remove(&c->node);
    s->count--;
    s->sent -= c->is_sent;
    strbuf_fini(&c->packet);
    mem_free(c);
}

static void call_end(struct signer_call *c, const struct signer_answer *answer)
{
    signer_fn fn = c->is_cancelled || c->signer->is_freed ? NULL : c->fn;
    void *user = c->user;
    call_free(c);
    if (fn)
        fn(user, answer);
}

static void call_fail(struct signer_call *c, int code, const char *why)
{
    call_end(c, &(struct signer_answer){.code = code, .message = why});
}

static struct signer_call *call_add(struct signer *s, const struct signer_request *q, signer_fn fn, void *user, struct err *err)
{
    struct signer_request r = *q;
    struct strbuf packet = {0};
    r.id = ++s->next_id;
    if (signer_request_write(&r, &packet, err) < 0) {
        strbuf_fini(&packet);
        return NULL;
    }
    struct signer_call *c = NEW(signer_call);
    c->signer = s;
    c->id = r.id;
    c->kind = r.kind;
    strbuf_adds(&c->packet, strbuf_str(&packet)); /* as long as it is, not as it might have been */
    strbuf_fini(&packet);
    c->due_us = loop_now_us(s->opts.loop) + s->opts.call_ms * 1000;
    c->fn = fn;
    c->user = user;
    s->count++;
    if (r.kind == SIGNER_OPEN)
        list_push_front(&s->calls, &c->node);
    else
        list_push_back(&s->calls, &c->node);
    return c;
}

/* False: the socket is full, or gone. */
static bool call_send(struct signer_call *c)
{
    struct signer *s = c->signer;
    ssize_t n = send(s->fd, c->packet.p, c->packet.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n == (ssize_t)c->packet.n) {
        c->is_sent = true;
        c->sends++;
        s->sent++;
        return true;
    }
    if (n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR && errno != ENOBUFS))
        stop(s, "it takes no requests");
    return false;
}

static void pump(struct signer *s)
{
    LIST_EACH(it, safe, &s->calls) {
        struct signer_call *c = LIST_ENTRY(it, signer_call, node);
        bool may_go = s->state == UP || (s->state == OPENING && c->kind == SIGNER_OPEN);
        if (!may_go || s->sent >= WINDOW)
            break;
        if (!c->is_sent && !call_send(c))
            break;
    }
}

/* By way of a list of their own: what is called may ask and cancel. */
static void fail_those(struct list *failed, int code, const char *why)
{
    for (struct list *it; (it = list_first(failed));)
        call_fail(LIST_ENTRY(it, signer_call, node), code, why);
}

static void fail_all(struct signer *s, int code, const char *why)
{
    struct list failed;
    list_init(&failed);
    for (struct list *it; (it = list_pop_front(&s->calls));)
        list_push_back(&failed, it);
    fail_those(&failed, code, why);
}

/* After a death: what was under way is sent again, or has had its chances. */
static void unsend(struct signer *s)
{
    struct list failed;
    list_init(&failed);
    LIST_EACH(it, safe, &s->calls) {
        struct signer_call *c = LIST_ENTRY(it, signer_call, node);
        bool again = c->kind == SIGNER_SIGN && c->sends < SENDS_MAX && !c->is_cancelled;
        if (!c->is_sent)
            continue;
        s->sent--;
        c->is_sent = false;
        if (!again) {
            list_remove(it);
            list_push_back(&failed, it);
        }
    }
    fail_those(&failed, ERR_STATE, "the signer died before it had answered");
}

/* ---- answers ---- */

static void take_trust(struct signer *s, const struct ca_trust *t)
{
    bool changed = !str_eq(t->bundle, s->bundle) || !str_eq(t->chain, s->chain);
    uint64_t generation = s->trust.generation + changed;
    if (changed) {
        str_replace(&s->bundle, t->bundle);
        str_replace(&s->chain, t->chain);
    }
    s->trust = *t;
    s->trust.bundle = s->bundle;
    s->trust.chain = s->chain;
    s->trust.generation = generation;
    if (changed && s->opts.on_trust)
        s->opts.on_trust(s->opts.user, &s->trust);
}

static void tell_state(struct signer *s, bool is_up, const char *why)
{
    snprintf(s->why, sizeof s->why, "%s", why);
    if (s->opts.on_state && !s->is_freed)
        s->opts.on_state(s->opts.user, is_up, s->why);
}

static void on_opened(struct signer *s, const struct signer_response *r)
{
    char why[sizeof s->why];
    if (!r->has_trust) {
        snprintf(why, sizeof why, "%.*s", STR_ARG(r->message));
        s->is_refused = true;
        stop(s, why);
        fail_all(s, ERR_STATE, why);
        return;
    }
    s->state = UP;
    s->is_refused = false;
    s->backoff_ms = BACKOFF_BASE_MS;
    s->tick_at_us = loop_now_us(s->opts.loop) + TICK_MS * 1000ull;
    tell_state(s, true, "");
}

static struct signer_call *call_of(struct signer *s, const struct signer_response *r)
{
    LIST_EACH(it, safe, &s->calls) {
        struct signer_call *c = LIST_ENTRY(it, signer_call, node);
        if (c->is_sent && c->id == r->id && c->kind == r->kind)
            return c;
    }
    return NULL;
}

static void on_response(struct signer *s, const struct signer_response *r)
{
    char message[sizeof s->why];
    struct signer_call *c = call_of(s, r);
    if (!c) {
        stop(s, "it answered what wasn't asked");
        return;
    }
    snprintf(message, sizeof message, "%.*s", STR_ARG(r->message));
    if (r->code && c->kind != SIGNER_SIGN)
        LOG(SECRET, WARNING, "the certificate authority: %s", message);
    if (r->has_trust)
        take_trust(s, &r->trust);
    if (s->is_freed)
        return;
    struct signer_answer answer = {r->code, message, r->leaf, r->serial_hex, r->leaf_until_s, r->has_trust ? &s->trust : NULL};
    bool was_open = c->kind == SIGNER_OPEN;
    call_end(c, &answer);
    if (was_open && !s->is_freed)
        on_opened(s, r);
}

static void read_answers(struct signer *s)
{
    while (!s->is_freed && (s->state == UP || s->state == OPENING)) {
        struct signer_response r;
        struct err err = {0};
        ssize_t n = recv(s->fd, s->in, SIGNER_PACKET_MAX_BYTES, MSG_TRUNC | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0)
            stop(s, "it ended");
        else if ((size_t)n > SIGNER_PACKET_MAX_BYTES || signer_response_read(str_make(s->in, (size_t)n), &r, &err) < 0)
            stop(s, "its answer can't be read");
        else
            on_response(s, &r);
    }
}

static void on_socket(struct watch *w, unsigned events)
{
    struct signer *s = CONTAINER_OF(w, signer, socket);
    (void)events;
    read_answers(s);
    if (s->is_freed)
        return;
    pump(s);
    plan(s);
}

/* ---- the process ---- */

static void close_socket(struct signer *s)
{
    if (s->fd < 0)
        return;
    watch_del(&s->socket);
    close(s->fd);
    s->fd = -1;
}

/* On its way out: the rest follows when it is reaped. */
static void stop(struct signer *s, const char *why)
{
    if (s->state == STOPPING || s->state == DOWN)
        return;
    s->state = STOPPING;
    close_socket(s);
    if (s->pid > 0)
        kill(s->pid, SIGKILL);
    if (strcmp(s->why, why) != 0) /* once, however often it is tried */
        LOG(SECRET, WARNING, "the certificate authority's signer doesn't serve: %s", why);
    tell_state(s, false, why);
}

static void wait_to_start(struct signer *s)
{
    s->state = DOWN;
    s->start_at_us = loop_now_us(s->opts.loop) + s->backoff_ms * 1000;
    s->backoff_ms = s->backoff_ms * 2 < BACKOFF_MAX_MS ? s->backoff_ms * 2 : BACKOFF_MAX_MS;
}

static void forget_process(struct signer *s)
{
    if (s->pid_fd >= 0) {
        watch_del(&s->process);
        close(s->pid_fd);
    }
    s->pid_fd = -1;
    s->pid = 0;
}

static void on_process(struct watch *w, unsigned events)
{
    struct signer *s = CONTAINER_OF(w, signer, process);
    int status = 0;
    (void)events;
    if (waitpid(s->pid, &status, WNOHANG) != s->pid)
        return;
    forget_process(s);
    read_answers(s); /* what it had still said */
    if (s->is_freed)
        return;
    char why[64];
    snprintf(why, sizeof why, WIFSIGNALED(status) ? "it was killed by signal %d" : "it ended with status %d",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    stop(s, why);
    wait_to_start(s);
    unsend(s);
    if (!s->is_freed)
        plan(s);
}

static int spawn(pid_t *pid, int their_end)
{
    char name[] = "weftd", what[] = SIGNER_ARGUMENT, *const argv[] = {name, what, NULL};
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t files;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attr, 0); /* a terminal's Ctrl-C is weftd's */
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&files, their_end, SIGNER_FD);
    posix_spawn_file_actions_addclosefrom_np(&files, SIGNER_FD + 1);
    int rc = posix_spawn(pid, "/proc/self/exe", &files, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    return rc;
}

/* A packet of the greatest size must fit, and some that wait. */
static void widen(int fd)
{
    int bytes = 4 * (int)SIGNER_PACKET_MAX_BYTES;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

static const char *begin(struct signer *s)
{
    int ends[2];
    struct err err = {0};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return "no socket pair can be made";
    s->fd = ends[0];
    widen(ends[0]);
    widen(ends[1]);
    int rc = spawn(&s->pid, ends[1]);
    close(ends[1]);
    if (rc) {
        s->pid = 0;
        return "it can't be started";
    }
    s->pid_fd = pidfd_open(s->pid, 0);
    if (s->pid_fd < 0)
        return "the kernel has no pidfd_open";
    if (watch_add(s->opts.loop, &s->socket, s->fd, on_socket, &err) < 0 ||
        watch_add_level(s->opts.loop, &s->process, s->pid_fd, on_process, &err) < 0)
        return "the loop takes no more descriptors";
    return NULL;
}

static void start(struct signer *s)
{
    struct signer_request q = {.kind = SIGNER_OPEN, .open = s->opts.open};
    s->state = OPENING;
    const char *fault = begin(s);
    if (!fault && !call_add(s, &q, NULL, NULL, NULL))
        fault = "its settings are too long";
    if (fault) {
        pid_t pid = s->pid;
        stop(s, fault);
        forget_process(s);
        if (pid > 0)
            waitpid(pid, NULL, 0);
        wait_to_start(s);
        return;
    }
    pump(s);
}

/* ---- time ---- */

static void tick(struct signer *s)
{
    struct signer_request q = {.kind = SIGNER_TICK};
    int64_t until_s = s->trust.change_at_s - (int64_t)(loop_wall_us(s->opts.loop) / 1000000);
    uint64_t ms = s->trust.change_at_s && until_s * 1000 < TICK_MS ? (until_s > 0 ? (uint64_t)until_s * 1000 : 1000) : TICK_MS;
    s->tick_at_us = loop_now_us(s->opts.loop) + ms * 1000;
    call_add(s, &q, NULL, NULL, NULL);
    pump(s);
}

static struct signer_call *oldest(struct signer *s)
{
    struct signer_call *found = NULL;
    LIST_EACH(it, safe, &s->calls) {
        struct signer_call *c = LIST_ENTRY(it, signer_call, node);
        if (!found || c->due_us < found->due_us)
            found = c;
        if (c->kind != SIGNER_OPEN)
            break; /* behind an OPEN they stand in the order of their time */
    }
    return found;
}

static void plan(struct signer *s)
{
    uint64_t now = loop_now_us(s->opts.loop), at = UINT64_MAX;
    const struct signer_call *c = oldest(s);
    if (s->state == DOWN)
        at = s->start_at_us;
    if (s->state == UP)
        at = s->tick_at_us;
    if (c && c->due_us < at)
        at = c->due_us;
    if (at == UINT64_MAX)
        timer_clear(&s->timer);
    else
        timer_set_us(&s->timer, at > now ? at - now : 0);
}

/* One that was asked and is mute is taken for hung, and is ended; what waited behind it has waited as long. */
static void on_overdue(struct signer *s, uint64_t now)
{
    for (struct signer_call *c; !s->is_freed && (c = oldest(s)) && c->due_us <= now;) {
        bool was_asked = c->is_sent;
        call_fail(c, ERR_TIMEOUT, "the signer gave no answer in time");
        if (was_asked && !s->is_freed)
            stop(s, "it gave no answer in time");
    }
}

static void on_timer(struct timer *t)
{
    struct signer *s = CONTAINER_OF(t, signer, timer);
    uint64_t now = loop_now_us(s->opts.loop);
    on_overdue(s, now);
    if (s->is_freed)
        return;
    if (s->state == DOWN && s->start_at_us <= now)
        start(s);
    else if (s->state == UP && s->tick_at_us <= now)
        tick(s);
    plan(s);
}

/* ---- asking ---- */

static struct signer_call *ask(struct signer *s, const struct signer_request *q, signer_fn fn, void *user, struct err *err)
{
    if (s->is_refused && s->state != UP) {
        err_set(err, ERR_STATE, "%s", s->why);
        return NULL;
    }
    if (s->count >= SIGNER_CALLS_MAX) {
        err_set(err, ERR_LIMIT, "%u requests wait for the signer already", s->count);
        return NULL;
    }
    struct signer_call *c = call_add(s, q, fn, user, err);
    if (c) {
        pump(s);
        plan(s);
    }
    return c;
}

struct signer_call *signer_sign(struct signer *s, const struct authority_request *q, signer_fn fn, void *user, struct err *err)
{
    return ask(s, &(struct signer_request){.kind = SIGNER_SIGN, .sign = *q}, fn, user, err);
}

struct signer_call *signer_rotate(struct signer *s, signer_fn fn, void *user, struct err *err)
{
    return ask(s, &(struct signer_request){.kind = SIGNER_ROTATE}, fn, user, err);
}

struct signer_call *signer_reload(struct signer *s, signer_fn fn, void *user, struct err *err)
{
    return ask(s, &(struct signer_request){.kind = SIGNER_RELOAD}, fn, user, err);
}

void signer_call_cancel(struct signer_call **call)
{
    struct signer_call *c = *call;
    *call = NULL;
    if (c && c->is_sent)
        c->is_cancelled = true;
    else if (c)
        call_free(c);
}

/* ---- beginning and end ---- */

bool signer_is_up(const struct signer *s)
{
    return s->state == UP;
}

const char *signer_why_down(const struct signer *s)
{
    return s->state == UP ? "" : s->why;
}

const struct ca_trust *signer_trust(const struct signer *s)
{
    return s->trust.generation ? &s->trust : NULL;
}

struct signer *signer_new(const struct signer_opts *o)
{
    struct signer *s = NEW(signer);
    s->opts = *o;
    s->path = str_dup(o->open.path);
    s->trust_domain = str_dup(o->open.authority.trust_domain);
    s->opts.open.path = s->path;
    s->opts.open.authority.trust_domain = s->trust_domain;
    s->opts.call_ms = o->call_ms ? o->call_ms : SIGNER_CALL_MS;
    s->fd = s->pid_fd = -1;
    s->backoff_ms = BACKOFF_BASE_MS;
    s->in = mem_alloc(SIGNER_PACKET_MAX_BYTES);
    list_init(&s->calls);
    snprintf(s->why, sizeof s->why, "it has not started yet");
    timer_init(&s->timer, o->loop, on_timer);
    timer_set_ms(&s->timer, 0);
    return s;
}

static void destroy(struct deferred *d)
{
    struct signer *s = CONTAINER_OF(d, signer, deferred);
    for (struct list *it; (it = list_first(&s->calls));)
        call_free(LIST_ENTRY(it, signer_call, node));
    str_free(&s->path);
    str_free(&s->trust_domain);
    str_free(&s->bundle);
    str_free(&s->chain);
    mem_free(s->in);
    mem_free(s);
}

/* Its death is waited for, for once: weftd is on its way out itself, and a new one wants the lock on the file. */
void signer_free(struct signer **p)
{
    struct signer *s = *p;
    *p = NULL;
    if (!s)
        return;
    s->is_freed = true;
    timer_clear(&s->timer);
    close_socket(s);
    pid_t pid = s->pid;
    forget_process(s);
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    s->state = DOWN;
    loop_defer(s->opts.loop, &s->deferred, destroy);
}
