/* SPDX-License-Identifier: Apache-2.0
 *
 * A signalfd on a loop: no code of ours ever runs in signal context. Standard signals coalesce in
 * the kernel, so a burst of SIGHUPs is one call.
 */
#include "io/signals.h"

#include <errno.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"

struct signals {
    struct watch watch;
    struct loop *loop;
    int fd;
    signal_fn fn;
    void *user;
    struct deferred deferred;
};

static void on_ready(struct watch *w, unsigned events)
{
    (void)events;
    struct signals *s = CONTAINER_OF(w, signals, watch);
    struct signalfd_siginfo info;
    while (s->fd >= 0 && read(s->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        s->fn(s->user, (int)info.ssi_signo);
}

struct signals *signals_new(struct loop *loop, const sigset_t *mask, signal_fn fn, void *user,
                            struct err *err)
{
    struct signals *s = NEW(signals);
    *s = (struct signals){.loop = loop, .fn = fn, .user = user, .fd = -1};
    int fault = pthread_sigmask(SIG_BLOCK, mask, NULL);
    if (fault) {
        err_set_errno(err, fault, "cannot block signals");
        goto failed;
    }
    s->fd = signalfd(-1, mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->fd < 0) {
        err_set_errno(err, errno, "cannot make a signalfd");
        goto failed;
    }
    if (watch_add_level(loop, &s->watch, s->fd, on_ready, err) == 0)
        return s;
failed:
    signals_free(&s);
    return NULL;
}

static void destroy(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, signals, deferred));
}

void signals_free(struct signals **signals)
{
    struct signals *s = *signals;
    if (!s)
        return;
    *signals = NULL;
    watch_del(&s->watch);
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    loop_defer(s->loop, &s->deferred, destroy);
}
