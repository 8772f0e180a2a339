/* SPDX-License-Identifier: Apache-2.0
 *
 * Accepting on a loop. Level-triggered and bounded a turn, so a flood of connections can't starve
 * the ones that are open. When descriptors run out, epoll would report the listener for ever while
 * accept fails: a reserve descriptor is given up to take one connection and close it (the peer
 * learns at once instead of hanging in the backlog), then the listener rests. Runs on its loop's
 * thread; several acceptors may share one descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "io/io_priv.h"
#include "io/listen.h"
#include "io/sys.h"

#define ACCEPTOR_MAGIC 0x61636370u
#define DEFAULT_PER_TURN 64
#define REST_MS 100

struct acceptor {
    uint32_t magic;
    uint32_t max_per_turn;
    struct loop *loop;
    int fd, reserve_fd;
    uint32_t pauses;
    bool dead;
    struct watch watch;
    struct timer rest;
    struct list resting; /* among this thread's, while the timer runs */
    struct deferred deferred;
    accept_fn on_accept;
    void *user;
    uint64_t exhausted;
};

/* Acceptors of this thread that wait for a descriptor. */
static __thread struct list resting = {NULL, NULL};

static int open_reserve(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_ready(struct watch *w, unsigned events);

static void update_watch(struct acceptor *a)
{
    struct err err = {0};
    bool wanted = a->pauses == 0 && !timer_is_set(&a->rest) && !a->dead;
    if (!wanted) {
        watch_del(&a->watch);
    } else if (!watch_is_added(&a->watch) &&
               watch_add_shared(a->loop, &a->watch, a->fd, on_ready, &err) != 0) {
        LOG(CONN_HANDLER, ERROR, "%s", err.message);
        timer_set_ms(&a->rest, REST_MS); /* and try again */
    }
}

static void rest(struct acceptor *a)
{
    if (!resting.next)
        list_init(&resting);
    list_remove(&a->resting);
    list_push_back(&resting, &a->resting);
    timer_set_ms(&a->rest, REST_MS);
    update_watch(a);
}

void acceptor_descriptor_freed(void)
{
    if (!resting.next)
        return;
    LIST_EACH(it, safe, &resting)
        timer_set_us(&LIST_ENTRY(it, acceptor, resting)->rest, 0); /* at the next turn */
}

static void on_rested(struct timer *t)
{
    struct acceptor *a = CONTAINER_OF(t, acceptor, rest);
    list_remove(&a->resting);
    if (a->reserve_fd < 0)
        a->reserve_fd = open_reserve();
    update_watch(a);
}

/* EMFILE, ENFILE: no descriptor for the connection at the head of the queue, if there is one (the
 * kernel looks for the descriptor first). */
static void on_exhausted(struct acceptor *a)
{
    if (a->reserve_fd >= 0) {
        close(a->reserve_fd);
        int fd = sys_accept4(a->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        bool was_empty = fd < 0 && errno == EAGAIN;
        if (fd >= 0)
            close(fd);
        a->reserve_fd = open_reserve();
        if (was_empty)
            return;
    }
    a->exhausted++;
    LOG(CONN_HANDLER, WARNING, "out of file descriptors: not accepting for %d ms", REST_MS);
    rest(a);
}

/* False: stop for this turn. */
static bool accept_one(struct acceptor *a)
{
    struct sockaddr_storage ss;
    socklen_t n = sizeof(ss);
    int fd = sys_accept4(a->fd, (struct sockaddr *)&ss, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        struct addr remote = {.unix_path = NULL};
        addr_from_sockaddr(&remote, (const struct sockaddr *)&ss, n);
        a->on_accept(a->user, fd, &remote);
        addr_fini(&remote);
        return true;
    }
    switch (errno) {
    case EAGAIN:
        return false;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        on_exhausted(a);
        return false;
    default:
        /* ECONNABORTED, EINTR, and network errors of the new connection (accept(2)): the next may
         * be fine. The bound on a turn's accepts ends this for any error that stays. */
        return true;
    }
}

static void on_ready(struct watch *w, unsigned events)
{
    (void)events;
    struct acceptor *a = CONTAINER_OF(w, acceptor, watch);
    for (uint32_t i = 0; i < a->max_per_turn; i++) {
        if (!accept_one(a) || a->dead || a->pauses)
            return;
    }
}

struct acceptor *acceptor_new(struct loop *loop, int fd, uint32_t max_per_turn, accept_fn on_accept,
                              void *user, struct err *err)
{
    struct acceptor *a = NEW(acceptor);
    *a = (struct acceptor){
        .magic = ACCEPTOR_MAGIC,
        .max_per_turn = max_per_turn ? max_per_turn : DEFAULT_PER_TURN,
        .loop = loop,
        .fd = fd,
        .reserve_fd = open_reserve(),
        .on_accept = on_accept,
        .user = user,
    };
    timer_init(&a->rest, loop, on_rested);
    list_init(&a->resting);
    if (watch_add_shared(loop, &a->watch, fd, on_ready, err) != 0)
        acceptor_free(&a);
    return a;
}

static void destroy(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, acceptor, deferred));
}

void acceptor_free(struct acceptor **acceptor)
{
    struct acceptor *a = *acceptor;
    if (!a)
        return;
    *acceptor = NULL;
    DCHECK(a->magic == ACCEPTOR_MAGIC);
    a->dead = true;
    a->magic = 0;
    watch_del(&a->watch);
    timer_clear(&a->rest);
    list_remove(&a->resting);
    if (a->reserve_fd >= 0)
        close(a->reserve_fd);
    loop_defer(a->loop, &a->deferred, destroy); /* perhaps from within on_accept */
}

void acceptor_pause(struct acceptor *a)
{
    a->pauses++;
    update_watch(a);
}

void acceptor_resume(struct acceptor *a)
{
    DCHECK(a->pauses > 0);
    a->pauses--;
    update_watch(a);
}

uint64_t acceptor_exhausted_count(const struct acceptor *a)
{
    return a->exhausted;
}
