/* SPDX-License-Identifier: Apache-2.0
 *
 * Options to an nftables ruleset, whole: the tables istio-proxy-nat, istio-proxy-mangle and istio-proxy-raw of family inet with
 * Istio's names of chains. Pure.
 */
#ifndef CAPTURE_RULES_H
#define CAPTURE_RULES_H

#include "base/str.h"
#include "capture/options.h"

#define CAPTURE_TABLE_COUNT 3
extern const char *const capture_tables[CAPTURE_TABLE_COUNT];

/* One transaction that takes the place of whatever the three tables held; in mode NONE nothing follows. Options are checked. */
void capture_rules(const struct capture_opts *o, struct strbuf *out);
/* The beginning of it alone: the tables go, be they there or not. */
void capture_rules_remove(struct strbuf *out);

#endif
