/* SPDX-License-Identifier: Apache-2.0
 *
 * Virtual services' HTTP routes: matches (route_match.c), retries and faults (route_resilience.c), the route (route_http.c).
 */
#ifndef CONTROL_TRANSLATE_ROUTE_PRIV_H
#define CONTROL_TRANSLATE_ROUTE_PRIV_H

#include "control/translate/translate_priv.h"
#include "istio/networking/virtual_service.pb-c.h"

#define HTTP_ROUTE Istio__Networking__V1alpha3__HTTPRoute
#define HTTP_MATCH Istio__Networking__V1alpha3__HTTPMatchRequest
#define DESTINATION Istio__Networking__V1alpha3__Destination

/* NULL: everything. */
Envoy__Config__Route__V3__RouteMatch *route_match(const struct translation *t, const HTTP_MATCH *from);
bool match_catches_all(const HTTP_MATCH *m);
/* Port, source and gateway of a match, for this proxy. */
bool match_is_for(const struct translation *t, const struct scoped_route *vs, const HTTP_MATCH *m, struct str gateway, uint32_t port);
bool match_gateways_take(const struct scoped_route *vs, char *const *names, size_t count, struct str gateway);
/* route_claims.c: does the header stand for a claim of the request's token? */
bool is_claim(const char *header);
void set_claims(const struct translation *t, const HTTP_MATCH *from, Envoy__Config__Route__V3__RouteMatch *m);
/* `match`: istio.networking.v1alpha3.StringMatch, set. */
Envoy__Type__Matcher__V3__StringMatcher *string_matcher(const struct translation *t, const ProtobufCMessage *match);

/* NULL: no retries. */
Envoy__Config__Route__V3__RetryPolicy *retry_policy(const struct translation *t, const Istio__Networking__V1alpha3__HTTPRetry *from);
Google__Protobuf__Any *fault_config(const struct translation *t, const Istio__Networking__V1alpha3__HTTPFaultInjection *from);
Google__Protobuf__Any *cors_config(const struct translation *t, const Istio__Networking__V1alpha3__CorsPolicy *from);
Envoy__Config__Core__V3__RuntimeFractionalPercent *runtime_percent(const struct translation *t, double percent);

/* The cluster that a destination means; `port`: of the listener, where the destination names none. */
struct str destination_cluster(const struct translation *t, const struct scoped_route *vs, const DESTINATION *d, uint32_t port, uint32_t *port_out,
                               struct str *host_out);

#endif
