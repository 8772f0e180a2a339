/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers of upstream name servers, kept for as long as they say (RFC 2181 section 5.2, RFC 2308), within bounds of number,
 * bytes and time. Time is an argument.
 */
#ifndef PROXY_AGENT_ANSWER_CACHE_H
#define PROXY_AGENT_ANSWER_CACHE_H

#include "proxy/agent/dns_packet.h"

struct answer_cache;
struct answer_cache *answer_cache_new(uint32_t max_entries, size_t max_bytes);
void answer_cache_free(struct answer_cache **c);
/* Keeps a copy, if that answer may be kept: whole, NOERROR or NXDOMAIN, with times to live. */
void answer_cache_put(struct answer_cache *c, const struct dns_packet_query *q, struct str answer, uint64_t now_us);
/* Null str: none. Times to live are what is left of them, and addresses take turns at the front. Valid until the next call. */
struct str answer_cache_get(struct answer_cache *c, const struct dns_packet_query *q, uint64_t now_us);
uint32_t answer_cache_count(const struct answer_cache *c);

#endif
