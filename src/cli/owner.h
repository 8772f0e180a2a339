/* SPDX-License-Identifier: Apache-2.0
 *
 * The object that a route or a cluster was made of, as its metadata names it (istio.config):
 * "/apis/networking.istio.io/v1/namespaces/bookinfo/virtual-service/reviews".
 */
#ifndef CLI_OWNER_H
#define CLI_OWNER_H

#include <stdbool.h>

#include "base/str.h"

struct owner { /* borrowed from the text */
    struct str kind, ns, name;
};
bool owner_read(const char *config, struct owner *out);
void owner_add_kind(const struct owner *o, struct strbuf *out); /* "VirtualService" */

#endif
