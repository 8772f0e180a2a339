/* SPDX-License-Identifier: Apache-2.0
 *
 * Asks the API server whose a token is (authentication.k8s.io/v1 TokenReview), for control/ca/auth.h. One loop's thread.
 */
#ifndef CONTROL_KUBE_TOKEN_REVIEW_H
#define CONTROL_KUBE_TOKEN_REVIEW_H

#include "control/ca/auth.h"
#include "control/kube/client.h"

/* Anybody who connects may make us ask: more at a time are refused, so that a crowd of strangers doesn't become the API server's
 * trouble. */
#define KUBE_REVIEWS_MAX 64u

struct kube_reviewer;
/* Knows the callers of one cluster: `cluster_id` ("Kubernetes"), or who names none. */
struct kube_reviewer *kube_reviewer_new(struct kube_client *keep_client, struct str cluster_id);
void kube_reviewer_free(struct kube_reviewer **r); /* after the reviews */
const struct token_reviewer *kube_reviewer(const struct kube_reviewer *r);

#endif
