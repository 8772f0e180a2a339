/* SPDX-License-Identifier: Apache-2.0
 *
 * Why a request took its route and none of the others: the same questions that route.c and match.c ask, answered in words
 * for people. Pure; any thread. Texts are appended to the caller's buffers.
 */
#ifndef PROXY_ROUTE_EXPLAIN_H
#define PROXY_ROUTE_EXPLAIN_H

#include "proxy/route/route.h"

/* ---- words that other rooms' explanations use too ---- */
void quoted_words(struct strbuf *out, struct str s); /* in quotes, cut where it is long */
void string_match_words(const struct string_match *m, struct strbuf *out);
void header_matcher_words(const struct header_matcher *m, struct strbuf *out);
void header_words(struct strbuf *out, const struct headers *h, struct str name); /* its values, or "absent" */

/* ---- virtual hosts ---- */
/* The name that domains are compared with: of :authority or vhost_header, without its port where that is ignored, in lower
 * case. In `text`, cut to its size. */
struct str route_host_asked(const struct route_config_spec *spec, const struct headers *h, char *text, size_t cap);
/* The domain of a virtual host by which it was found; a null str when none of them fits. */
struct str virtual_host_domain(const struct virtual_host *v, struct str host);
enum domain_near {
    DOMAIN_FAR,
    DOMAIN_FITS,      /* it fits too, but another is more specific */
    DOMAIN_BUT_PORT,  /* it would but for a port on one side */
    DOMAIN_BUT_LABEL, /* "*.a.b" for "a.b": the wildcard stands for at least one character */
    DOMAIN_SIBLING,   /* the same but for the first label */
};
enum domain_near domain_compare(struct str domain, struct str host);
const char *domain_near_text(enum domain_near n);

/* ---- routes ---- */
/* What the path's part of a match wants: `prefix "/a"`. */
void route_match_path_text(const struct route_match *m, struct strbuf *out);
/* The item of a match that refused (`why` and `index` of route_match_refusal): what it wants, and what the request has. */
void route_refusal_wanted(const struct route_match *m, enum route_refusal why, uint32_t index, struct strbuf *out);
void route_refusal_seen(const struct route_match *m, const struct route_request *rq, enum route_refusal why, uint32_t index,
                        struct strbuf *out);
/* "headers[1]", "path". */
void route_refusal_part(enum route_refusal why, uint32_t index, struct strbuf *out);
/* The list of routes that stands for a request: the virtual host's, or the one that its matcher chose (NULL: none). */
struct route_entry *const *route_candidates(const struct virtual_host *v, const struct route_request *rq, uint32_t *count);
/* The weight that a draw uses now (runtime included). */
uint64_t weighted_cluster_weight(const struct weighted_cluster *w);

#endif
