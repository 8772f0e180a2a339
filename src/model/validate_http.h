/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP routes of virtual services.
 */
#ifndef MODEL_VALIDATE_HTTP_H
#define MODEL_VALIDATE_HTTP_H

#include "model/validate_priv.h"

void check_http_routes(struct check *c, size_t n, ist_http_route *const *routes, bool is_delegate);
void check_gateway_names(struct check *c, size_t n, char *const *names);
/* "@request.auth.claims.a.b" or "@request.auth.claims[a][b]" */
bool is_claim_header(struct str name);

/* ---- validate_http_match.c, for routes; arguments by pointer may be NULL ---- */
bool is_header_name(struct str s);
void check_headers(struct check *c, const ist_headers *h);
void check_authority(struct check *c, const ist_http_route *route);
void check_string_match(struct check *c, const char *field, const ist_string_match *m, bool takes_empty_prefix);
void check_match(struct check *c, const ist_http_match *m);

#endif
