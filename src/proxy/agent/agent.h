/* SPDX-License-Identifier: Apache-2.0
 *
 * pilot-agent's part inside the process: settings -> bootstrap -> identity and secrets. cmd/ makes it before the server, the
 * server starts and stops it. Main thread.
 */
#ifndef PROXY_AGENT_AGENT_H
#define PROXY_AGENT_AGENT_H

#include "proxy/agent/env.h"
#include "proxy/server.h"

struct agent;
/* Reads the settings, builds the bootstrap, opens the store of secrets. NULL with every fault in `faults`. */
struct agent *agent_new(int argc, char **argv, char **envp, struct err_list *faults, struct err_list *notes);
void agent_free(struct agent **a); /* after the server */
const struct agent_env *agent_env(const struct agent *a);
struct str agent_bootstrap_text(const struct agent *a);
/* What the command line would say to a proxy that pilot-agent starts. Texts are the agent's. */
void agent_configure(struct agent *a, struct server_opts *out);

/* `weft-proxy sidecar ...` whole: faults and notes go to stderr. `run` loads the configuration and serves; its result is the
 * exit code. */
int agent_main(int argc, char **argv, char **envp, int (*run)(struct server_opts *o));
/* `weft-proxy wait`: until the readiness page says 200; see wait.c. */
int agent_wait_main(int argc, char **argv);

#endif
