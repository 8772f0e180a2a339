/* SPDX-License-Identifier: Apache-2.0
 *
 * One event loop a thread: epoll (edge-triggered), a timer wheel, a mailbox for other threads, and
 * the two queues that keep callbacks honest: work put off to the end of the turn (gathered
 * writes), and memory freed only there. One coarse clock a turn.
 *
 * A turn: wait -> read clock -> timers -> ready watches -> mailbox -> turn-end tasks (repeated
 * until none is left) -> deferred frees. Everything but loop_post/loop_stop belongs to the loop's
 * own thread.
 */
#ifndef IO_LOOP_H
#define IO_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "base/rng.h"

struct loop;

/* name: borrowed, static ("worker_0"). SIGPIPE is ignored from here on in the whole process. */
struct loop *loop_new(const char *name, struct err *err);
void loop_free(struct loop **loop); /* nothing may be registered any more, checked in debug builds */
void loop_run(struct loop *loop);   /* until loop_stop */
void loop_stop(struct loop *loop);  /* any thread, any time; the present turn ends first */
/* One turn, waiting at most max_wait_ms (-1: until something happens); for tests. */
void loop_turn(struct loop *loop, int max_wait_ms);
const char *loop_name(const struct loop *loop);

/* The coarse clock: monotonic and wall, microseconds, read once a turn. */
uint64_t loop_now_us(const struct loop *loop);
uint64_t loop_wall_us(const struct loop *loop);
struct rng *loop_rng(struct loop *loop);
/* The loop of the calling thread (NULL outside loop_run/loop_turn). */
struct loop *loop_current(void);

/* ---- descriptors ---- */
enum {
    WATCH_IN = 1,     /* readable, or end of file to be read */
    WATCH_OUT = 2,    /* writable again */
    WATCH_RDHUP = 4,  /* the peer shut its writing side or is gone: read until EOF */
    WATCH_ERROR = 8,
};
struct watch;
typedef void (*watch_fn)(struct watch *w, unsigned events);

/* Embedded in its owner. Registered once for both directions, edge-triggered: the owner remembers
 * readiness. Event data carries a generation; a report for an old one is dropped and counted. */
struct watch {
    struct loop *loop;
    watch_fn on_ready;
    int fd;
    uint32_t slot; /* the loop's: index + generation */
};
int watch_add(struct loop *loop, struct watch *w, int fd, watch_fn on_ready, struct err *err);
/* Level-triggered, in only: listeners, eventfds, signalfds. */
int watch_add_level(struct loop *loop, struct watch *w, int fd, watch_fn on_ready, struct err *err);
/* Level-triggered with a chosen mask of WATCH_IN | WATCH_OUT, changeable (c-ares sockets). */
int watch_set_level(struct loop *loop, struct watch *w, int fd, unsigned events, watch_fn on_ready,
                    struct err *err);
/* Level-triggered, in only, EPOLLEXCLUSIVE: one of several loops watching a listener wakes up. */
int watch_add_shared(struct loop *loop, struct watch *w, int fd, watch_fn on_ready, struct err *err);
void watch_del(struct watch *w); /* idempotent; doesn't close the fd */
/* The same without the system call: for owners that close the (never duplicated) fd next. */
void watch_forget(struct watch *w);
bool watch_is_added(const struct watch *w);

/* ---- timers ---- 1 ms resolution, never early. Embedded; zero-initialised is valid and unset. */
struct timer;
typedef void (*timer_fn)(struct timer *t);
struct timer {
    struct list node; /* the wheel's */
    struct loop *loop;
    timer_fn on_fire;
    uint64_t due_us; /* 0: not set */
    uint64_t wheel_due_us; /* where it is filed; moving `due_us` later doesn't refile it */
};
void timer_init(struct timer *t, struct loop *loop, timer_fn on_fire);
/* (Re)arms. Moving a deadline later is two stores, so idle timers may be pushed at every request. */
void timer_set_us(struct timer *t, uint64_t delay_us);
static inline void timer_set_ms(struct timer *t, uint64_t delay_ms)
{
    timer_set_us(t, delay_ms * 1000);
}
void timer_clear(struct timer *t); /* idempotent */
static inline bool timer_is_set(const struct timer *t)
{
    return t->due_us != 0;
}

/* ---- end of turn ---- */
/* Runs once at the end of this turn (again if queued again meanwhile). Idempotent while queued. */
struct turn_task {
    struct list node; /* zero-initialised: not queued */
    void (*run)(struct turn_task *t);
};
void loop_at_turn_end(struct loop *loop, struct turn_task *t);
/* Runs after the next turn's watches, and that turn doesn't wait: for work that has used up its
 * share of this turn. Queuing it again for a turn's end moves it there. */
void loop_at_next_turn(struct loop *loop, struct turn_task *t);
void turn_task_cancel(struct turn_task *t);
/* For who has much under way: this turn and the next shall begin at least `period_us` (below 1000)
 * apart, so that more is there by then; the thread sleeps for what is left of it, as network cards
 * moderate their interrupts. The longest wish of a turn counts. Nothing comes of it where turns are
 * sparse anyhow, where they take as long as that, or where work is due. */
void loop_coalesce(struct loop *loop, uint32_t period_us);

/* destroy(object) after everything else of this turn has run. */
struct deferred {
    struct deferred *next;
    void (*destroy)(struct deferred *d);
};
void loop_defer(struct loop *loop, struct deferred *d, void (*destroy)(struct deferred *d));

/* ---- between threads ---- */
/* Runs fn(arg) on the loop's thread, in order per sender. Any thread. The loop must be alive. */
typedef void (*post_fn)(void *arg);
void loop_post(struct loop *loop, post_fn fn, void *arg);

struct loop_counters {
    uint64_t turns, rests, stale_events, posts, timers_fired;
};
const struct loop_counters *loop_counters(const struct loop *loop);

#endif
