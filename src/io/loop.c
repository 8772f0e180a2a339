/* SPDX-License-Identifier: Apache-2.0
 *
 * The event loop: one epoll descriptor, a table of watches, the wheel, the mailbox, and the turn
 * that strings them together (see loop.h for its order).
 *
 * Invariants: a slot's generation grows each time its watch goes, so a report that epoll had
 * already queued for it is recognised and dropped. Callbacks may do anything: delete any watch,
 * clear any timer, queue tasks; only freeing memory waits for the turn's end. All of it belongs to
 * one thread except loop_post and loop_stop.
 */
#include "io/loop.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "io/mailbox.h"
#include "io/wheel.h"

#define LOOP_MAGIC 0x6c6f6f70u
#define EVENTS_PER_WAIT 256
#define NO_SLOT UINT32_MAX
#define DENSE_US 250   /* turns this close to each other may be coalesced */
#define REST_MIN_US 5  /* less isn't worth a system call */

struct slot {
    struct watch *watch; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

struct loop {
    uint32_t magic;
    int epoll_fd;
    const char *name;
    uint64_t now_us, wall_us;
    struct rng rng;
    struct wheel wheel;
    struct slot *slots;
    size_t slot_cap;
    uint32_t slot_count, free_slot, watch_count;
    struct list tasks, next_tasks;
    struct deferred *deferred, **deferred_tail;
    struct loop_counters counters;
    struct mailbox mailbox;
    struct watch wake;
    int wake_fd;
    uint32_t period_us; /* wished for in this turn: loop_coalesce */
    bool is_dense;      /* this turn began soon after the one before */
    bool is_slack_set;
    atomic_bool stop;
    struct epoll_event events[EVENTS_PER_WAIT];
};

static __thread struct loop *current_loop;

/* ---- making and freeing ---- */

static void read_clock(struct loop *loop)
{
    loop->now_us = clock_mono_us();
    loop->wall_us = clock_wall_us();
}

static void run_letters(struct loop *loop)
{
    struct letter *l = mailbox_take(&loop->mailbox);
    while (l) {
        struct letter *next = l->next;
        post_fn fn = l->fn;
        void *arg = l->arg;
        mem_free(l);
        fn(arg);
        loop->counters.posts++;
        l = next;
    }
}

/* The letters themselves are read after all watches of the turn. */
static void on_wake(struct watch *w, unsigned events)
{
    (void)events;
    uint64_t n;
    ssize_t got = read(w->fd, &n, sizeof(n));
    (void)got; /* EAGAIN: somebody's wake-up was taken with an earlier one */
}

struct loop *loop_new(const char *name, struct err *err)
{
    signal(SIGPIPE, SIG_IGN); /* write, writev and splice report EPIPE instead */
    struct loop *loop = NEW(loop);
    *loop = (struct loop){.magic = LOOP_MAGIC, .name = name, .free_slot = NO_SLOT, .wake_fd = -1};
    list_init(&loop->tasks);
    list_init(&loop->next_tasks);
    loop->deferred_tail = &loop->deferred;
    rng_seed(&loop->rng, 0);
    read_clock(loop);
    wheel_init(&loop->wheel, loop->now_us);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        err_set_errno(err, errno, "cannot make an epoll descriptor");
        goto failed;
    }
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0) {
        err_set_errno(err, errno, "cannot make an eventfd");
        goto failed;
    }
    if (watch_add_level(loop, &loop->wake, loop->wake_fd, on_wake, err) == 0)
        return loop;
failed:
    loop_free(&loop);
    return NULL;
}

static void run_deferred(struct loop *loop)
{
    while (loop->deferred) {
        struct deferred *d = loop->deferred;
        loop->deferred = NULL;
        loop->deferred_tail = &loop->deferred;
        while (d) {
            struct deferred *next = d->next;
            d->destroy(d);
            d = next;
        }
    }
}

void loop_free(struct loop **loop)
{
    struct loop *l = *loop;
    if (!l)
        return;
    *loop = NULL;
    struct loop *outer = current_loop;
    current_loop = l;
    run_letters(l); /* they may own things */
    run_deferred(l);
    current_loop = outer;
    watch_del(&l->wake);
    DCHECK(l->watch_count == 0);
    DCHECK(l->wheel.count == 0);
    DCHECK(list_is_empty(&l->tasks) && list_is_empty(&l->next_tasks));
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    mem_free(l->slots);
    l->magic = 0;
    mem_free(l);
}

/* ---- the turn ---- */

static int wait_ms(const struct loop *loop, int max_wait_ms)
{
    if (!list_is_empty(&loop->tasks) || !list_is_empty(&loop->next_tasks) || loop->deferred)
        return 0;
    uint64_t next = wheel_next_us(&loop->wheel);
    if (next == UINT64_MAX)
        return max_wait_ms;
    uint64_t now = clock_mono_us(); /* the turn before may have taken long */
    if (next <= now)
        return 0;
    uint64_t ms = (next - now + 999) / 1000;
    if (max_wait_ms >= 0 && ms > (uint64_t)max_wait_ms)
        return max_wait_ms;
    return ms > 3600000 ? 3600000 : (int)ms;
}

static unsigned events_in(uint32_t epoll_events)
{
    unsigned e = 0;
    if (epoll_events & (EPOLLIN | EPOLLHUP))
        e |= WATCH_IN;
    if (epoll_events & (EPOLLOUT | EPOLLHUP))
        e |= WATCH_OUT;
    if (epoll_events & (EPOLLRDHUP | EPOLLHUP))
        e |= WATCH_RDHUP;
    if (epoll_events & EPOLLERR)
        e |= WATCH_ERROR;
    return e;
}

/* A crash after this is not of the connection that was served before. */
static void forget_subject(void)
{
    check_context.connection_id = 0;
    check_context.stream_id = 0;
}

static void dispatch(struct loop *loop, const struct epoll_event *ev)
{
    uint32_t i = (uint32_t)ev->data.u64, generation = (uint32_t)(ev->data.u64 >> 32);
    struct slot *s = &loop->slots[i];
    if (!s->watch || s->generation != generation) {
        loop->counters.stale_events++;
        return;
    }
    s->watch->on_ready(s->watch, events_in(ev->events));
    forget_subject();
}

static void run_tasks(struct loop *loop)
{
    struct list *n;
    while ((n = list_pop_front(&loop->tasks)) != NULL) {
        n->next = NULL;
        struct turn_task *t = LIST_ENTRY(n, turn_task, node);
        t->run(t);
        forget_subject();
    }
}

/* Tasks put off by the turn before join this turn's; those put off from now on wait again. */
static void take_next_tasks(struct loop *loop)
{
    struct list *n;
    while ((n = list_pop_front(&loop->next_tasks)) != NULL)
        list_push_back(&loop->tasks, n);
}

void loop_coalesce(struct loop *loop, uint32_t period_us)
{
    if (loop->is_dense && period_us > loop->period_us)
        loop->period_us = period_us;
}

/* By default the kernel lets a thread oversleep by 50 us, for the sake of fewer interrupts. */
static void set_timer_slack(struct loop *loop)
{
    loop->is_slack_set = true;
    prctl(PR_SET_TIMERSLACK, 1000ul, 0ul, 0ul, 0ul);
}

static void rest(struct loop *loop)
{
    uint64_t end_us = loop->now_us + loop->period_us;
    loop->period_us = 0;
    uint64_t now_us = clock_mono_us();
    if (now_us + REST_MIN_US > end_us || wait_ms(loop, -1) == 0)
        return;
    if (!loop->is_slack_set)
        set_timer_slack(loop);
    struct timespec ts = {0, (long)(end_us - now_us) * 1000};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
    loop->counters.rests++;
}

void loop_turn(struct loop *loop, int max_wait_ms)
{
    DCHECK(loop->magic == LOOP_MAGIC);
    struct loop *outer = current_loop;
    current_loop = loop;
    if (loop->period_us)
        rest(loop);
    int n = epoll_wait(loop->epoll_fd, loop->events, EVENTS_PER_WAIT, wait_ms(loop, max_wait_ms));
    CHECK(n >= 0 || errno == EINTR);
    uint64_t before_us = loop->now_us;
    read_clock(loop);
    loop->is_dense = loop->now_us - before_us < DENSE_US;
    loop->counters.turns++;
    take_next_tasks(loop);
    loop->counters.timers_fired += wheel_advance(&loop->wheel, loop->now_us);
    for (int i = 0; i < n; i++)
        dispatch(loop, &loop->events[i]);
    run_letters(loop);
    run_tasks(loop);
    run_deferred(loop);
    forget_subject();
    current_loop = outer;
}

void loop_run(struct loop *loop)
{
    while (!atomic_load_explicit(&loop->stop, memory_order_acquire))
        loop_turn(loop, -1);
    atomic_store_explicit(&loop->stop, false, memory_order_relaxed); /* may be run again */
}

static void wake(struct loop *loop)
{
    uint64_t one = 1;
    ssize_t put;
    do {
        put = write(loop->wake_fd, &one, sizeof(one));
    } while (put < 0 && errno == EINTR); /* EAGAIN: 2^64 - 2 wake-ups are waiting already */
}

void loop_stop(struct loop *loop)
{
    atomic_store_explicit(&loop->stop, true, memory_order_release);
    wake(loop);
}

void loop_post(struct loop *loop, post_fn fn, void *arg)
{
    if (mailbox_push(&loop->mailbox, fn, arg))
        wake(loop);
}

/* ---- small questions ---- */

const char *loop_name(const struct loop *loop)
{
    return loop->name;
}
uint64_t loop_now_us(const struct loop *loop)
{
    return loop->now_us;
}
uint64_t loop_wall_us(const struct loop *loop)
{
    return loop->wall_us;
}
struct rng *loop_rng(struct loop *loop)
{
    return &loop->rng;
}
struct loop *loop_current(void)
{
    return current_loop;
}
const struct loop_counters *loop_counters(const struct loop *loop)
{
    return &loop->counters;
}

/* ---- watches ---- */

static uint32_t take_slot(struct loop *loop, struct watch *w)
{
    uint32_t i = loop->free_slot;
    if (i == NO_SLOT) {
        i = loop->slot_count++;
        loop->slots = mem_grow(loop->slots, &loop->slot_cap, loop->slot_count, sizeof(*loop->slots));
        loop->slots[i] = (struct slot){.generation = 0};
    } else {
        loop->free_slot = loop->slots[i].next_free;
    }
    loop->slots[i].watch = w;
    loop->watch_count++;
    return i;
}

static void give_slot(struct loop *loop, uint32_t i)
{
    struct slot *s = &loop->slots[i];
    s->watch = NULL;
    s->generation++;
    s->next_free = loop->free_slot;
    loop->free_slot = i;
    loop->watch_count--;
}

static int control(struct loop *loop, int op, int fd, uint32_t i, uint32_t mask)
{
    struct epoll_event ev = {
        .events = mask,
        .data.u64 = (uint64_t)loop->slots[i].generation << 32 | i,
    };
    return epoll_ctl(loop->epoll_fd, op, fd, &ev) == 0 ? 0 : errno;
}

static int add(struct loop *loop, struct watch *w, int fd, uint32_t mask, watch_fn on_ready,
               struct err *err)
{
    DCHECK(!watch_is_added(w));
    uint32_t i = take_slot(loop, w);
    int fault = control(loop, EPOLL_CTL_ADD, fd, i, mask);
    if (fault) {
        give_slot(loop, i);
        *w = (struct watch){.fd = -1};
        return err_set_errno(err, fault, "cannot watch descriptor %d", fd);
    }
    *w = (struct watch){.loop = loop, .on_ready = on_ready, .fd = fd, .slot = i + 1};
    return 0;
}

int watch_add(struct loop *loop, struct watch *w, int fd, watch_fn on_ready, struct err *err)
{
    return add(loop, w, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, on_ready, err);
}

int watch_add_level(struct loop *loop, struct watch *w, int fd, watch_fn on_ready, struct err *err)
{
    return add(loop, w, fd, EPOLLIN, on_ready, err);
}

int watch_add_shared(struct loop *loop, struct watch *w, int fd, watch_fn on_ready, struct err *err)
{
    return add(loop, w, fd, EPOLLIN | EPOLLEXCLUSIVE, on_ready, err);
}

int watch_set_level(struct loop *loop, struct watch *w, int fd, unsigned events, watch_fn on_ready,
                    struct err *err)
{
    uint32_t mask = (events & WATCH_IN ? EPOLLIN : 0u) | (events & WATCH_OUT ? EPOLLOUT : 0u);
    if (!watch_is_added(w))
        return add(loop, w, fd, mask, on_ready, err);
    DCHECK(w->fd == fd && w->loop == loop);
    w->on_ready = on_ready;
    int fault = control(loop, EPOLL_CTL_MOD, fd, w->slot - 1, mask);
    return fault ? err_set_errno(err, fault, "cannot watch descriptor %d", fd) : 0;
}

void watch_del(struct watch *w)
{
    if (!watch_is_added(w))
        return;
    /* ENOENT, EBADF: the owner closed the descriptor first; the generation still protects us. */
    epoll_ctl(w->loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    watch_forget(w);
}

void watch_forget(struct watch *w)
{
    if (!watch_is_added(w))
        return;
    give_slot(w->loop, w->slot - 1);
    w->slot = 0;
}

bool watch_is_added(const struct watch *w)
{
    return w->slot != 0;
}

/* ---- timers ---- */

void timer_init(struct timer *t, struct loop *loop, timer_fn on_fire)
{
    *t = (struct timer){.loop = loop, .on_fire = on_fire};
}

void timer_set_us(struct timer *t, uint64_t delay_us)
{
    struct wheel *wheel = &t->loop->wheel;
    uint64_t now = t->loop->now_us;
    t->due_us = delay_us < UINT64_MAX - now ? now + delay_us : UINT64_MAX;
    if (t->node.next) {
        /* Filed at the same millisecond or before: it will be looked at then, and refiled. */
        if (t->due_us > t->wheel_due_us - 1000)
            return;
        wheel_unfile(wheel, t);
    }
    wheel_file(wheel, t);
}

void timer_clear(struct timer *t)
{
    if (t->node.next)
        wheel_unfile(&t->loop->wheel, t);
    t->due_us = 0;
}

/* ---- end of turn ---- */

void loop_at_turn_end(struct loop *loop, struct turn_task *t)
{
    if (t->node.next)
        list_remove(&t->node); /* it may wait for the next turn */
    list_push_back(&loop->tasks, &t->node);
}

void loop_at_next_turn(struct loop *loop, struct turn_task *t)
{
    if (!t->node.next)
        list_push_back(&loop->next_tasks, &t->node);
}

void turn_task_cancel(struct turn_task *t)
{
    if (!t->node.next)
        return;
    list_remove(&t->node);
    t->node.next = NULL;
}

void loop_defer(struct loop *loop, struct deferred *d, void (*destroy)(struct deferred *d))
{
    d->next = NULL;
    d->destroy = destroy;
    *loop->deferred_tail = d;
    loop->deferred_tail = &d->next;
}
