/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a filter chain or cluster gets its tls_context from: built once, rebuilt on the main thread
 * when a watched file changes (later: when a secret arrives). Readers on any thread take a reference
 * to the current context; a broken new file changes nothing but a counter and a log line.
 */
#ifndef PROXY_CONFIG_TLS_SOURCE_H
#define PROXY_CONFIG_TLS_SOURCE_H

#include "io/tls.h"

struct tls_source;
struct tls_context *tls_source_get(struct tls_source *s); /* a new reference; NULL: not ready (no secret yet) */
struct tls_source *tls_source_ref(struct tls_source *s);
void tls_source_unref(struct tls_source **s);

#endif
