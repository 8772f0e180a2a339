/* SPDX-License-Identifier: Apache-2.0
 *
 *     waiting --initial delay, period--> asked --answer--> waiting
 *
 * As many answers of one kind in a row as its threshold says make a state; what is told is a change of it, the first included.
 * A period is counted from question to question; one that takes longer is followed by the next at once. Main loop.
 */
#include "proxy/agent/readiness.h"

#include "base/log.h"
#include "base/mem.h"
#include "proto/json.h"
#include "proto/wire.h"
#include "proxy/agent/probe.h"
#include "proxy/discovery/discovery.h"

#include <stdio.h>

#define PATH "PROXY_CONFIG.readinessProbe"
#define REASON_BYTES 512 /* as much of a program's output as a status message may well hold */
#define PERIOD_S 10

enum health { HEALTH_UNKNOWN, HEALTH_GOOD, HEALTH_BAD };
struct readiness {
    struct arena arena;
    struct probe probe;
    uint64_t delay_ms, period_ms, good_threshold, bad_threshold;
    struct loop *loop;
    struct timer timer;
    uint64_t asked_us;
    struct fetch *fetch;
    struct command *command;
    enum health state;
    uint64_t good, bad;             /* in a row */
};

/* ---- reading ---- */

static void read_rest(struct readiness *r, struct probe_reading *reading, const struct doc_node *node)
{
    uint64_t period = probe_read_number(reading, node, "periodSeconds");
    r->delay_ms = probe_read_number(reading, node, "initialDelaySeconds") * 1000;
    r->period_ms = (period ? period : PERIOD_S) * 1000;
    r->good_threshold = probe_read_number(reading, node, "successThreshold");
    r->bad_threshold = probe_read_number(reading, node, "failureThreshold");
    r->good_threshold += !r->good_threshold;
    r->bad_threshold += !r->bad_threshold;
}

struct readiness *readiness_new(const struct agent_env *e, struct err_list *faults)
{
    static const char *const fields[] = {"initialDelaySeconds", "periodSeconds", "successThreshold", "failureThreshold", NULL};
    size_t before = faults->count;
    if (!e->config.readiness_probe.n)
        return NULL;
    struct readiness *r = NEW(readiness);
    arena_init(&r->arena, (size_t)1 << 20);
    struct proto_arena *pa = proto_arena_new(0);
    struct probe_reading reading = {.env = e, .a = &r->arena, .faults = faults, .path = PATH, .fields = fields, .takes_host = true,
                                    .takes_exec = true};
    const struct doc_node *root = json_read(pa, e->config.readiness_probe, PATH, faults);
    if (root) {
        probe_read(&r->probe, &reading, root);
        read_rest(r, &reading, root);
    }
    proto_arena_free(&pa);
    if (faults->count > before)
        readiness_free(&r);
    return r;
}

/* ---- answers ---- */

static void take(struct readiness *r, const char *why_not)
{
    uint64_t next_us = r->asked_us + r->period_ms * 1000, now = loop_now_us(r->loop);
    timer_set_us(&r->timer, next_us > now ? next_us - now : 0);
    r->good = why_not ? 0 : r->good + 1;
    r->bad = why_not ? r->bad + 1 : 0;
    enum health now_is = r->good >= r->good_threshold ? HEALTH_GOOD : r->bad >= r->bad_threshold ? HEALTH_BAD : r->state;
    if (now_is == r->state)
        return;
    r->state = now_is;
    LOG(HC, INFO, "readiness probe: the application is %s%s", now_is == HEALTH_GOOD ? "healthy" : "unhealthy: ",
        why_not ? why_not : "");
    discovery_report_health(why_not ? str_from(why_not) : STR_NULL);
}

static void on_answer(void *user, const struct fetch_answer *a)
{
    struct readiness *r = user;
    char text[64];
    r->fetch = NULL;
    if (a->failure) {
        take(r, a->failure);
    } else if (r->probe.kind == PROBE_GRPC) {
        take(r, probe_is_serving(a) ? NULL : "the service doesn't say that it is serving");
    } else if (r->probe.kind == PROBE_HTTP && (a->status < 200 || a->status >= 400)) {
        snprintf(text, sizeof text, "its status is %u, not from 200 to 399", a->status);
        take(r, text);
    } else {
        take(r, NULL);
    }
}

/* What a person would want to see of it: how it ended, and what it said. */
static void on_end(void *user, const struct command_end *e)
{
    struct readiness *r = user;
    char text[REASON_BYTES];
    struct str said = str_trim(e->output);
    r->command = NULL;
    if (!e->failure && !e->signal && e->exit_code == 0) {
        take(r, NULL);
        return;
    }
    int n = e->failure  ? snprintf(text, sizeof text, "%s", e->failure)
            : e->signal ? snprintf(text, sizeof text, "signal %d ended the command", e->signal)
                        : snprintf(text, sizeof text, "the command ended with %d", e->exit_code);
    size_t room = sizeof text - (size_t)n - 3;
    if (said.n && wire_text_is_valid(said = str_make(said.p, said.n < room ? said.n : room)))
        snprintf(text + n, sizeof text - (size_t)n, ": %.*s", STR_ARG(said));
    take(r, text);
}

/* ---- questions ---- */

static void ask(struct timer *t)
{
    struct readiness *r = CONTAINER_OF(t, readiness, timer);
    r->asked_us = loop_now_us(r->loop);
    if (r->probe.kind == PROBE_EXEC)
        r->command = probe_run(&r->probe, r->loop, on_end, r);
    else
        r->fetch = probe_ask(&r->probe, NULL, r->loop, on_answer, r);
}

void readiness_start(struct readiness *r, struct loop *loop)
{
    r->loop = loop;
    timer_init(&r->timer, loop, ask);
    timer_set_ms(&r->timer, r->delay_ms);
}

void readiness_free(struct readiness **p)
{
    struct readiness *r = *p;
    *p = NULL;
    if (!r)
        return;
    if (r->loop)
        timer_clear(&r->timer);
    fetch_cancel(&r->fetch);
    command_cancel(&r->command);
    probe_fini(&r->probe);
    arena_fini(&r->arena);
    mem_free(r);
}
