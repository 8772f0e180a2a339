/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to this folder: the frame in which one resource is read.
 *
 *     const pb_x *m = (const pb_x *)cfg_resource_begin(&r, batch, &desc, packed, faults);
 *     if (m)
 *         read(&r.cr, m, …);
 *     rc = cfg_resource_end(&r, m);   // what was left unread is settled here
 */
#ifndef PROXY_CONFIG_RESOURCES_PRIV_H
#define PROXY_CONFIG_RESOURCES_PRIV_H

#include "proxy/config/config_priv.h"
#include "proxy/config/resources.h"

struct config_batch {
    struct config_frame *frame;
    struct spec_memory *memory;
};
struct config_resource {
    struct config_reader cr;
    struct proto_arena *arena;
    struct err_list *faults;
    size_t before;
};
/* NULL after a fault; cfg_resource_end is called in any case. cr.slots must be set before reading. */
const ProtobufCMessage *cfg_resource_begin(struct config_resource *r, struct config_batch *b, const ProtobufCMessageDescriptor *desc,
                                           struct str packed, struct err_list *faults);
int cfg_resource_end(struct config_resource *r, const ProtobufCMessage *m);

#endif
