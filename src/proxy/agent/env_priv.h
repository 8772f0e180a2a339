/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files that read a pod's settings share.
 */
#ifndef PROXY_AGENT_ENV_PRIV_H
#define PROXY_AGENT_ENV_PRIV_H

#include "proxy/agent/env.h"

struct env_reading {
    struct agent_env *out;
    char **envp;
    struct err_list *faults, *notes;
    bool has_concurrency;            /* by the flag */
    struct str flag_service_cluster;
};
struct str env_get(const struct env_reading *r, const char *name); /* null str: isn't set */
void env_fault(struct env_reading *r, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void env_note(struct env_reading *r, const char *name, const char *what);

void env_read_arguments(struct env_reading *r, int argc, char **argv); /* arguments.c */
void env_read_pod(struct env_reading *r);                              /* env_pod.c: metadata, labels, addresses */
void env_read_annotations(struct env_reading *r);                      /* the same: of the file, before all else */
void env_read_control(struct env_reading *r);                          /* env_control.c: discovery, CA, identity */

#endif
