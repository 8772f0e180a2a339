/* SPDX-License-Identifier: Apache-2.0
 *
 *   idle --due--> asking --good answer--> idle until renewal is due
 *                   |
 *                   +--failure, timeout, an answer that is no good--> waiting --back-off--> asking
 *
 * Whatever fails, what was issued last stays in the store and serves, also past its end: the peers decide. Each attempt
 * makes a new key. A CA that hangs is given up after a while, shorter where little life is left. Renewal is by the wall
 * clock, looked at once a minute at least, so that a machine that slept or was set right renews when it ought to.
 * The key is in OpenSSL's memory and in the store, never in a log, and on disk only if OUTPUT_CERTS names a place.
 * Main thread.
 */
#include "proxy/agent/identity.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "pki/cert.h"
#include "proxy/agent/bootstrap.h"
#include "proxy/agent/secrets.h"
#include "proxy/agent/token.h"
#include "proxy/cluster/slot.h"
#include "proxy/service/ca_service.h"
#include "proxy/stats/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define ATTEMPT_MS 10000
#define ATTEMPT_MIN_MS 1000
#define BACKOFF_BASE_MS 100
#define BACKOFF_MAX_MS 10000
#define CLOCK_CHECK_MS 60000
#define HEAD_BYTES 65536

static const struct stat_desc rows[] = {IDENTITY_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, STAT_IDENTITY_COUNT};

struct identity {
    const struct agent_env *env;
    struct trust *trust;
    struct loop *loop;
    struct grpc_service service;
    struct stat_scope *stats;
    struct timer timer;
    struct ca_call *call;      /* asking */
    struct key *key;           /* of the request under way */
    int64_t not_after_s;       /* of what is in use; 0: nothing yet */
    int64_t renew_at_s;        /* 0: as soon as the timer says */
    uint64_t backoff_ms;
};

static int64_t wall_s(const struct identity *id)
{
    return (int64_t)(loop_wall_us(id->loop) / 1000000);
}

/* ---- when ---- */

int64_t identity_renew_at(int64_t now_s, int64_t not_after_s, double ratio, double jitter, double roll)
{
    double share = ratio + jitter * (2 * roll - 1);
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    int64_t life = not_after_s - now_s;
    return life <= 0 ? now_s : not_after_s - (int64_t)((double)life * share + 0.5);
}

static double roll(struct identity *id)
{
    return (double)(rng_next(loop_rng(id->loop)) >> 11) / 9007199254740992.0;
}

uint64_t identity_sleep_ms(int64_t now_s, int64_t renew_at_s)
{
    if (now_s >= renew_at_s)
        return 0;
    return renew_at_s - now_s < CLOCK_CHECK_MS / 1000 ? (uint64_t)(renew_at_s - now_s) * 1000 : CLOCK_CHECK_MS;
}

static void wait_for_renewal(struct identity *id)
{
    uint64_t ms = identity_sleep_ms(wall_s(id), id->renew_at_s);
    timer_set_ms(&id->timer, ms ? ms : 1);
}

static void wait_to_retry(struct identity *id)
{
    uint64_t ms = id->backoff_ms / 2 + rng_below(loop_rng(id->loop), id->backoff_ms / 2 + 1);
    id->renew_at_s = 0;
    timer_set_ms(&id->timer, ms);
    id->backoff_ms = id->backoff_ms * 2 < BACKOFF_MAX_MS ? id->backoff_ms * 2 : BACKOFF_MAX_MS;
}

static uint64_t attempt_ms(const struct identity *id)
{
    int64_t left_ms = (id->not_after_s - wall_s(id)) * 1000;
    if (!id->not_after_s || left_ms / 4 > ATTEMPT_MS)
        return ATTEMPT_MS;
    return left_ms / 4 < ATTEMPT_MIN_MS ? ATTEMPT_MIN_MS : (uint64_t)left_ms / 4;
}

/* ---- OUTPUT_CERTS ---- */

static int write_whole(int fd, struct str text)
{
    while (text.n) {
        ssize_t n = write(fd, text.p, text.n);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0)
            text = str_make(text.p + n, text.n - (size_t)n);
    }
    return 0;
}

/* Whole or not at all: readers watch these files. */
static void put_file(struct str dir, const char *name, struct str text)
{
    char path[4096], draft[4096 + 8];
    int n = snprintf(path, sizeof path, "%.*s/%s", STR_ARG(dir), name);
    snprintf(draft, sizeof draft, "%s.new", path);
    int fd = n > 0 && (size_t)n < sizeof path ? open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    bool ok = fd >= 0 && write_whole(fd, text) == 0;
    if (fd >= 0)
        ok = close(fd) == 0 && ok;
    if (!ok || rename(draft, path) < 0)
        LOG(SECRET, WARNING, "OUTPUT_CERTS: cannot write %s: %s", path, strerror(errno));
}

static void put_files(struct identity *id, struct str chain, struct str key)
{
    struct str dir = id->env->output_dir;
    struct secret *roots = secret_store_get(STR("ROOTCA"));
    if (!dir.n)
        return;
    put_file(dir, "key.pem", key);
    put_file(dir, "cert-chain.pem", chain);
    if (roots)
        put_file(dir, "root-cert.pem", roots->roots_pem);
}

/* ---- an answer ---- */

/* The last element holds the root, or several; the others are the chain. */
static int join(const struct ca_answer *answer, struct strbuf *chain, struct str *roots, struct err *err)
{
    if (answer->count < 2)
        return err_set(err, ERR_INVALID, "%u certificates instead of a chain and its root", answer->count);
    for (uint32_t i = 0; i + 1 < answer->count; i++) {
        strbuf_adds(chain, answer->certs[i]);
        if (chain->n && chain->p[chain->n - 1] != '\n')
            strbuf_addc(chain, '\n');
    }
    *roots = answer->certs[answer->count - 1];
    return 0;
}

/* Would a server with this be believed? Better said here than at the first handshake. */
static int check(struct identity *id, struct str chain, struct str roots, struct arena *a, struct cert_facts *facts, struct err *err)
{
    int rc = cert_inspect(chain, a, facts, err);
    if (rc == 0 && !key_fits(id->key, chain))
        rc = err_set(err, ERR_INVALID, "the certificate is for another key");
    if (rc == 0)
        rc = cert_verify(chain, roots, wall_s(id), err);
    return rc;
}

static int write_key(struct identity *id, struct strbuf *out, struct err *err)
{
    return id->env->pkcs8_key ? key_pem(id->key, out, err) : key_pem_traditional(id->key, out, err);
}

static void note_name(struct identity *id, struct str spiffe_id)
{
    struct str td = id->env->trust_domain, ns = id->env->pod_namespace, sa = id->env->service_account;
    struct arena a;
    arena_init(&a, 0);
    struct str expected = arena_printf(&a, "spiffe://%.*s/ns/%.*s/sa/%.*s", STR_ARG(td), STR_ARG(ns), STR_ARG(sa));
    if (!str_eq(expected, spiffe_id))
        LOG(SECRET, WARNING, "the CA calls this workload '%.*s', not %.*s", STR_ARG(spiffe_id), STR_ARG(expected));
    arena_fini(&a);
}

static void settle(struct identity *id, const struct cert_facts *facts)
{
    id->not_after_s = facts->not_after_s;
    id->renew_at_s = identity_renew_at(wall_s(id), facts->not_after_s, id->env->grace_ratio, id->env->grace_jitter, roll(id));
    id->backoff_ms = BACKOFF_BASE_MS;
    stat_inc(id->stats, STAT_IDENTITY_ISSUED);
    stat_set(id->stats, STAT_IDENTITY_NOT_AFTER, (uint64_t)id->not_after_s);
    stat_set(id->stats, STAT_IDENTITY_RENEW_AT, (uint64_t)id->renew_at_s);
    LOG(SECRET, INFO, "certificate %.*s for %.*s holds for %lld s, to be renewed in %lld s", STR_ARG(facts->serial_hex),
        STR_ARG(facts->spiffe_id), (long long)(id->not_after_s - wall_s(id)), (long long)(id->renew_at_s - wall_s(id)));
    note_name(id, facts->spiffe_id);
}

/* Roots first: whoever sees the new certificate trusts what stands behind it. */
static int take(struct identity *id, const struct ca_answer *answer, struct arena *a, struct err *err)
{
    struct strbuf chain = {0}, key = {0};
    struct cert_facts facts;
    struct str roots;
    bool changed = false, had_one = id->not_after_s != 0;
    int rc = join(answer, &chain, &roots, err);
    if (rc == 0)
        rc = check(id, strbuf_str(&chain), roots, a, &facts, err);
    if (rc == 0)
        rc = write_key(id, &key, err);
    if (rc == 0)
        rc = trust_set(id->trust, TRUST_ISSUER, roots, &changed, err);
    if (rc == 0) {
        if (changed && had_one)
            stat_inc(id->stats, STAT_IDENTITY_ROOT_CHANGES);
        settle(id, &facts);
        secret_store_set(STR("default"), strbuf_str(&chain), strbuf_str(&key));
        put_files(id, strbuf_str(&chain), strbuf_str(&key));
    }
    key_pem_free(&key);
    strbuf_fini(&chain);
    return rc;
}

static void on_answer(void *user, const struct ca_answer *answer, unsigned status, struct str message)
{
    struct identity *id = user;
    struct err err = {0};
    struct arena a;
    arena_init(&a, 0);
    id->call = NULL;
    if (!answer) {
        stat_inc(id->stats, STAT_IDENTITY_FAILED);
        LOG(SECRET, WARNING, "the CA gave no certificate: gRPC status %u %.*s", status, STR_ARG(message));
        wait_to_retry(id);
    } else if (take(id, answer, &a, &err) < 0) {
        stat_inc(id->stats, STAT_IDENTITY_REJECTED);
        LOG(SECRET, WARNING, "the CA's answer was not taken: %s", err.message);
        wait_to_retry(id);
    } else {
        wait_for_renewal(id);
    }
    key_free(&id->key);
    arena_fini(&a);
}

/* ---- asking ---- */

static struct key *make_key(const struct agent_env *e, struct err *err)
{
    return e->use_rsa ? key_generate_rsa(e->rsa_bits, err) : key_generate(e->ec_kind, err);
}

static int make_csr(struct identity *id, struct strbuf *csr, struct err *err)
{
    const struct agent_env *e = id->env;
    struct strbuf uri = {0};
    strbuf_addf(&uri, "spiffe://%.*s/ns/%.*s/sa/%.*s", STR_ARG(e->trust_domain), STR_ARG(e->pod_namespace), STR_ARG(e->service_account));
    key_free(&id->key);
    id->key = make_key(e, err);
    int rc = id->key ? key_csr(id->key, strbuf_str(&uri), STR_NULL, csr, err) : ERR_TLS;
    strbuf_fini(&uri);
    return rc;
}

static void ask(struct identity *id, struct str csr)
{
    struct arena a;
    struct headers more;
    unsigned status;
    arena_init(&a, HEAD_BYTES);
    headers_init(&more, &a);
    token_add_headers(id->env, &id->env->ca_headers, &more);
    id->service.timeout_ms = attempt_ms(id);
    id->call = ca_ask(&id->service, csr, id->env->secret_ttl_ms / 1000, id->env->cert_signer, &more, on_answer, id, &status);
    arena_fini(&a);
    if (id->call) {
        stat_inc(id->stats, STAT_IDENTITY_REQUESTS);
    } else {
        stat_inc(id->stats, STAT_IDENTITY_NO_HOST);
        LOG_SELDOM(SECRET, INFO, "the CA can't be asked yet: gRPC status %u", status);
        wait_to_retry(id);
    }
}

static void on_timer(struct timer *t)
{
    struct identity *id = CONTAINER_OF(t, identity, timer);
    struct strbuf csr = {0};
    struct err err = {0};
    if (identity_sleep_ms(wall_s(id), id->renew_at_s) > 0) {
        wait_for_renewal(id);
        return;
    }
    if (make_csr(id, &csr, &err) == 0) {
        ask(id, strbuf_str(&csr));
    } else {
        LOG(SECRET, ERROR, "%s", err.message);
        wait_to_retry(id);
    }
    strbuf_fini(&csr);
}

struct identity *identity_new(const struct agent_env *e, struct trust *trust, struct loop *loop)
{
    struct identity *id = NEW(identity);
    id->env = e;
    id->trust = trust;
    id->loop = loop;
    id->service = (struct grpc_service){.cluster_name = STR(AGENT_CA_CLUSTER), .cluster = cluster_slot_get(STR(AGENT_CA_CLUSTER)), .authority = e->ca.sni,
                                        .max_receive_bytes = CA_ANSWER_MAX_BYTES, .skip_envoy_headers = true};
    id->stats = stat_scope_get(STR("agent.ca."), &table, STR("agent.ca."), NULL, 0);
    id->backoff_ms = BACKOFF_BASE_MS;
    timer_init(&id->timer, loop, on_timer);
    timer_set_ms(&id->timer, 0);
    return id;
}

void identity_free(struct identity **p)
{
    struct identity *id = *p;
    *p = NULL;
    if (!id)
        return;
    timer_clear(&id->timer);
    ca_call_cancel(&id->call);
    key_free(&id->key);
    cluster_slot_unref(&id->service.cluster);
    stat_scope_unref(&id->stats);
    mem_free(id);
}
