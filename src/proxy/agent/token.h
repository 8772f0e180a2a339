/* SPDX-License-Identifier: Apache-2.0
 *
 * What the control plane is shown with each call: the service account's token, read from its file anew since the kubelet
 * renews it, the cluster's name, and headers of the environment. Main thread.
 */
#ifndef PROXY_AGENT_TOKEN_H
#define PROXY_AGENT_TOKEN_H

#include "http/codec/headers.h"
#include "proxy/agent/env.h"

/* "authorization: Bearer ...", "clusterid: ...", and `more`. A token that can't be read is left out, and said so in the log. */
void token_add_headers(const struct agent_env *e, const struct text_pairs *more, struct headers *h);

#endif
