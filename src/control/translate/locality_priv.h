/* SPDX-License-Identifier: Apache-2.0
 *
 * Localities of assignments (locality.c), as the destination rule or the mesh asks for them.
 */
#ifndef CONTROL_TRANSLATE_LOCALITY_PRIV_H
#define CONTROL_TRANSLATE_LOCALITY_PRIV_H

#include "control/translate/translate_priv.h"
#include "istio/networking/destination_rule.pb-c.h"

#define LOCALITY_SETTING Istio__Networking__V1alpha3__LocalityLoadBalancerSetting
#define ASSIGNMENT Envoy__Config__Endpoint__V3__ClusterLoadAssignment

/* Before gaps are closed. 0: nothing fails over. */
uint32_t locality_priority(const struct translation *t, const struct endpoint_purpose *p, const struct endpoint *e);
void locality_close_gaps(ASSIGNMENT *a);
/* The weights of an assignment's localities, where shares are asked for. */
void locality_distribute(const struct translation *t, const struct endpoint_purpose *p, ASSIGNMENT *a);

#endif
