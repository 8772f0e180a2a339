/* SPDX-License-Identifier: Apache-2.0
 *
 * pilot-agent's DNS proxy (ISTIO_META_DNS_CAPTURE of a sidecar, ISTIO_META_ENABLE_DNS_SERVER of any): a name server at
 * DNS_PROXY_ADDR that knows the mesh by NDS. Main loop.
 */
#ifndef PROXY_AGENT_DNS_PROXY_H
#define PROXY_AGENT_DNS_PROXY_H

#include "base/buf.h"
#include "io/loop.h"
#include "proxy/agent/env.h"

struct dns_proxy;
/* Takes its addresses and reads resolv.conf. NULL with faults. `keep_env` lives longer. */
struct dns_proxy *dns_proxy_new(const struct agent_env *keep_env, struct err_list *faults);
int dns_proxy_start(struct dns_proxy *p, struct loop *loop, struct err *err);
void dns_proxy_stop(struct dns_proxy *p);
void dns_proxy_free(struct dns_proxy **p);

bool dns_proxy_is_ready(const struct dns_proxy *p); /* it has a table */
void dns_proxy_metrics(const struct dns_proxy *p, struct buf *out);
/* The table as it is. False: there is none yet. */
bool dns_proxy_table_json(const struct dns_proxy *p, struct strbuf *out);

#endif
