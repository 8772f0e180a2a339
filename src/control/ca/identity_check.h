/* SPDX-License-Identifier: Apache-2.0
 *
 * A proxy may say of itself only what its credential says too.
 */
#ifndef CONTROL_CA_IDENTITY_CHECK_H
#define CONTROL_CA_IDENTITY_CHECK_H

#include "base/err.h"
#include "base/str.h"

/* Does the identity agree with the namespace and the service account of the node's metadata ("" isn't compared)? ERR_INVALID in
 * istiod's words, for PERMISSION_DENIED. */
int identity_check(struct str identity, struct str ns, struct str service_account, struct err *err);

#endif
