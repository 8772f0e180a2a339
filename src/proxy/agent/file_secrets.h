/* SPDX-License-Identifier: Apache-2.0
 *
 * Certificates, keys and roots in files that somebody else renews. Read when they are first wanted, again whenever they
 * change; what can't be read or doesn't fit together changes nothing but a counter and a log line. Main thread.
 */
#ifndef PROXY_AGENT_FILE_SECRETS_H
#define PROXY_AGENT_FILE_SECRETS_H

#include "io/file_watch.h"
#include "proxy/agent/trust.h"
#include "proxy/stats/stats.h"

#define FILE_SECRET_STATS(X)                                                                       \
    X(FILE_SECRETS_TAKEN, COUNTER, NONE, "taken", "Times that files were read and taken")          \
    X(FILE_SECRETS_REFUSED, COUNTER, NONE, "refused", "Times that files could not be read or were no good")
enum file_secret_stat { FILE_SECRET_STATS(STAT_ENUM_ROW) STAT_FILE_SECRETS_COUNT };

struct file_secrets;
struct file_secrets *file_secrets_new(void);
void file_secrets_free(struct file_secrets **f);

/* "file-cert:<chain>~<key>", "file-root:<bundle>" ("system": the system's own). */
bool file_secrets_serves(struct str name);
void file_secrets_want(struct file_secrets *f, struct str name);
/* A certificate under any name. */
void file_secrets_add(struct file_secrets *f, struct str name, struct str chain_path, struct str key_path);
/* Roots for ROOTCA, and its revocation list (which may never come to be). `keep_trust` lives longer. */
void file_secrets_add_trust(struct file_secrets *f, struct str root_path, struct trust *keep_trust);
void file_secrets_add_crl(struct file_secrets *f, struct str crl_path, struct trust *keep_trust);

/* From now on files are watched; before, they are only read. Counts as "agent.files." */
void file_secrets_watch(struct file_secrets *f, struct loop *loop, struct file_watcher *files);

#endif
