/* SPDX-License-Identifier: Apache-2.0
 *
 *   idle --due--> asking --leaf--> idle until half of its life is over
 *                   |
 *                   +--failure--> waiting, back-off --> asking
 *
 * What was given last serves on meanwhile, past its end too: clients decide. Due times are by the wall clock, looked at once a
 * minute at least. Each attempt makes a new key.
 */
#include "control/ca/serving.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "pki/key.h"

#define CLOCK_CHECK_MS 60000
#define BACKOFF_BASE_MS 100
#define BACKOFF_MAX_MS 10000
/* Of a request; the signer puts the names. */
#define REQUEST_URI STR("spiffe://serving")

struct serving {
    struct serving_opts opts;
    struct str *hosts;
    struct timer timer;
    struct deferred deferred;
    struct key *key;          /* of the request under way */
    struct signer_call *call;
    int64_t renew_at_s, until_s;
    uint64_t backoff_ms;
};

static int64_t wall_s(const struct serving *s)
{
    return (int64_t)(loop_wall_us(s->opts.loop) / 1000000);
}

static void wait_for_renewal(struct serving *s)
{
    int64_t left_s = s->renew_at_s - wall_s(s);
    uint64_t ms = left_s <= 0 ? 1 : (uint64_t)left_s * 1000;
    timer_set_ms(&s->timer, ms < CLOCK_CHECK_MS ? ms : CLOCK_CHECK_MS);
}

static void wait_to_retry(struct serving *s, const char *why)
{
    LOG_SELDOM(SECRET, WARNING, "weftd has no new serving certificate: %s", why);
    s->renew_at_s = 0;
    timer_set_ms(&s->timer, s->backoff_ms);
    s->backoff_ms = s->backoff_ms * 2 < BACKOFF_MAX_MS ? s->backoff_ms * 2 : BACKOFF_MAX_MS;
}

static int take(struct serving *s, const struct signer_answer *a, struct err *err)
{
    struct strbuf chain = {0}, key = {0};
    strbuf_adds(&chain, a->leaf);
    strbuf_adds(&chain, a->trust->chain);
    int rc = key_pem(s->key, &key, err);
    if (rc == 0) {
        s->until_s = a->leaf_until_s;
        s->renew_at_s = wall_s(s) + (s->until_s - wall_s(s)) / 2;
        s->backoff_ms = BACKOFF_BASE_MS;
        LOG(SECRET, INFO, "issued: certificate %.*s for weftd itself, until %lld", STR_ARG(a->serial_hex), (long long)s->until_s);
        s->opts.on_certificate(s->opts.user, strbuf_str(&chain), strbuf_str(&key));
    }
    key_pem_free(&key);
    strbuf_fini(&chain);
    return rc;
}

static void on_signed(void *user, const struct signer_answer *a)
{
    struct serving *s = user;
    struct err err = {0};
    s->call = NULL;
    if (a->code)
        wait_to_retry(s, a->message);
    else if (take(s, a, &err) < 0)
        wait_to_retry(s, err.message);
    else
        wait_for_renewal(s);
    key_free(&s->key);
}

static int ask(struct serving *s, struct err *err)
{
    struct strbuf csr = {0};
    key_free(&s->key);
    s->key = key_generate(s->opts.key_kind, err);
    int rc = s->key ? key_csr(s->key, REQUEST_URI, STR_NULL, &csr, err) : ERR_TLS;
    if (rc == 0) {
        struct authority_request q = {.csr_pem = strbuf_str(&csr), .hosts = s->hosts, .host_count = s->opts.host_count,
                                      .ttl_s = s->opts.ttl_s};
        s->call = signer_sign(s->opts.signer, &q, on_signed, s, err);
        rc = s->call ? 0 : ERR_STATE;
    }
    strbuf_fini(&csr);
    return rc;
}

static void on_timer(struct timer *t)
{
    struct serving *s = CONTAINER_OF(t, serving, timer);
    struct err err = {0};
    if (s->renew_at_s > wall_s(s))
        wait_for_renewal(s);
    else if (!s->call && ask(s, &err) < 0)
        wait_to_retry(s, err.message);
}

void serving_renew(struct serving *s)
{
    s->renew_at_s = 0;
    if (!s->call)
        timer_set_ms(&s->timer, 0);
}

int64_t serving_until_s(const struct serving *s)
{
    return s->until_s;
}

struct serving *serving_new(const struct serving_opts *o)
{
    struct serving *s = NEW(serving);
    s->opts = *o;
    s->hosts = mem_zalloc((o->host_count + 1) * sizeof *s->hosts);
    for (uint32_t i = 0; i < o->host_count; i++)
        s->hosts[i] = str_dup(o->hosts[i]);
    s->backoff_ms = BACKOFF_BASE_MS;
    timer_init(&s->timer, o->loop, on_timer);
    timer_set_ms(&s->timer, 0);
    return s;
}

static void destroy(struct deferred *d)
{
    struct serving *s = CONTAINER_OF(d, serving, deferred);
    for (uint32_t i = 0; i < s->opts.host_count; i++)
        str_free(&s->hosts[i]);
    mem_free(s->hosts);
    mem_free(s);
}

void serving_free(struct serving **p)
{
    struct serving *s = *p;
    *p = NULL;
    if (!s)
        return;
    timer_clear(&s->timer);
    signer_call_cancel(&s->call);
    key_free(&s->key);
    loop_defer(s->opts.loop, &s->deferred, destroy);
}
