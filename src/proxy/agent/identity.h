/* SPDX-License-Identifier: Apache-2.0
 *
 * The workload's own certificate from the mesh's CA: key and CSR made here, IstioCertificateService asked, the answer looked
 * at and put into the store as "default" and "ROOTCA"; renewed at half of its life. Main thread.
 */
#ifndef PROXY_AGENT_IDENTITY_H
#define PROXY_AGENT_IDENTITY_H

#include "io/loop.h"
#include "proxy/agent/env.h"
#include "proxy/agent/trust.h"
#include "proxy/stats/stats.h"

#define IDENTITY_STATS(X)                                                                          \
    X(IDENTITY_REQUESTS, COUNTER, NONE, "requests", "Certificates asked for")                      \
    X(IDENTITY_ISSUED, COUNTER, NONE, "issued", "Certificates taken into use")                     \
    X(IDENTITY_FAILED, COUNTER, NONE, "failed", "Requests that the CA didn't answer, or refused")  \
    X(IDENTITY_NO_HOST, COUNTER, NONE, "no_host", "Times that there was nobody to ask: the CA's name has no address (yet)") \
    X(IDENTITY_REJECTED, COUNTER, NONE, "rejected", "Answers of the CA that were no good")         \
    X(IDENTITY_ROOT_CHANGES, COUNTER, NONE, "root_changes", "Times that the mesh's roots changed") \
    X(IDENTITY_NOT_AFTER, GAUGE, NONE, "not_after_s", "When the certificate in use ends, Unix time") \
    X(IDENTITY_RENEW_AT, GAUGE, NONE, "renew_at_s", "When the next one will be asked for, Unix time")
enum identity_stat { IDENTITY_STATS(STAT_ENUM_ROW) STAT_IDENTITY_COUNT };

struct identity;
/* Begins with the loop's first turn, by the cluster AGENT_CA_CLUSTER. All are borrowed until identity_free. */
struct identity *identity_new(const struct agent_env *e, struct trust *trust, struct loop *loop);
void identity_free(struct identity **id);

/* When to renew, in wall-clock seconds: when `ratio` of the life is left, moved by up to `jitter` of it either way;
 * `roll` is random, 0 to 1. Never before `now_s` (a life that is half over at its beginning). */
int64_t identity_renew_at(int64_t now_s, int64_t not_after_s, double ratio, double jitter, double roll);

/* How long to sleep before the clock is looked at again; 0: it is time to renew. A minute at most, since the wall clock
 * may jump while the loop's doesn't. */
uint64_t identity_sleep_ms(int64_t now_s, int64_t renew_at_s);

#endif
