/* SPDX-License-Identifier: Apache-2.0
 *
 * What a configuration's credentials are at present: the TLS context and the bearer token, made anew when their files change
 * (tokens of service accounts are rotated every hour). A change that can't be used leaves what was. One loop's thread.
 */
#ifndef CONTROL_KUBE_CREDENTIALS_H
#define CONTROL_KUBE_CREDENTIALS_H

#include "control/kube/config.h"
#include "io/loop.h"
#include "io/tls.h"

struct kube_credentials;
/* on_tls: the context is another one; may be called from kube_credentials_reload. NULL: they can't be used, *err says why. */
struct kube_credentials *kube_credentials_new(struct loop *loop, const struct kube_config *keep_config, void (*on_tls)(void *user),
                                              void *user, struct err *err);
void kube_credentials_free(struct kube_credentials **c);

struct tls_context *kube_credentials_tls(const struct kube_credentials *c); /* borrowed; NULL: plain text */
struct str kube_credentials_token(const struct kube_credentials *c);        /* "" none; until the next change */
/* Looks at the files now: the server doesn't believe us. True: something is new. */
bool kube_credentials_reload(struct kube_credentials *c);

#endif
