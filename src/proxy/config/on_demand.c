/* SPDX-License-Identifier: Apache-2.0
 *
 * on_demand's configuration. Clusters on demand (odcds) are refused by name, on the filter as on routes. Main thread.
 */
#include "proxy/filter/on_demand.h"

#include "proxy/config/config_priv.h"

int cfg_on_demand(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_on_demand *m = (const pb_on_demand *)msg;
    (void)out;
    if (GET(m, odcds)) {
        proto_read_whole(&cr->r, &m->odcds->base);
        UNSUPPORTED("odcds", NULL);
    }
    return 0;
}
