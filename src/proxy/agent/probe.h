/* SPDX-License-Identifier: Apache-2.0
 *
 * One question to the application whether it is well, as Kubernetes' Probe (core/v1) and Istio's ReadinessProbe
 * (networking.istio.io) put it: httpGet, tcpSocket, grpc, exec. Main loop.
 */
#ifndef PROXY_AGENT_PROBE_H
#define PROXY_AGENT_PROBE_H

#include "proxy/agent/command.h"
#include "proxy/agent/env.h"
#include "http/fetch.h"

enum probe_kind { PROBE_NONE, PROBE_HTTP, PROBE_TCP, PROBE_GRPC, PROBE_EXEC };
struct probe { /* texts in the reading's arena */
    enum probe_kind kind;
    bool is_tls;
    uint64_t timeout_ms;
    struct addr to;
    struct str target, host, service;
    struct text_pair *headers; size_t header_count;
    struct str *command; size_t command_count; /* NUL-terminated each */
};
struct probe_reading {
    const struct agent_env *env;
    struct arena *a;
    struct err_list *faults;
    const char *path;               /* of the probe, in faults */
    const char *const *fields;      /* others that it has, which the caller reads; NULL at the end */
    bool takes_host, takes_exec;    /* ReadinessProbe has both, what injection writes has neither */
};

/* Every fault is told; a probe with faults isn't to be asked. */
void probe_read(struct probe *out, struct probe_reading *r, const struct doc_node *node);
void probe_fini(struct probe *p);
/* A whole number of a field that may be absent, then 0. */
uint64_t probe_read_number(struct probe_reading *r, const struct doc_node *node, const char *field);

/* Not of PROBE_EXEC. `request`: the headers that are passed on with httpGet; NULL none. */
struct fetch *probe_ask(const struct probe *p, const struct headers *request, struct loop *loop, fetch_fn fn, void *user);
struct command *probe_run(const struct probe *p, struct loop *loop, command_fn fn, void *user); /* of PROBE_EXEC */
bool probe_is_serving(const struct fetch_answer *a); /* PROBE_GRPC's answer says so */

#endif
