/* SPDX-License-Identifier: Apache-2.0
 *
 * SubstitutionFormatString.formatters: extensions that bring operators. Those that are known here
 * (REQ_WITHOUT_QUERY, METADATA, CEL) are always at hand; naming one changes nothing. Main thread.
 */
#include "proxy/config/config_priv.h"

int cfg_formatter(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    (void)out;
    proto_read_whole(&cr->r, msg); /* nothing is set in any of them, but for how Envoy's CEL is to be built */
    return 0;
}

void cfg_formatters(struct config_reader *cr, pb_extension *const *items, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        IN("formatters[%u]", i) {
            ProtobufCMessage *msg = NULL;
            const pb_any *any = GET(items[i], typed_config);
            const struct extension *ext = cfg_extension(cr, EXT_FORMATTER, "typed_config", TEXT(items[i], name), any, &msg);
            if (ext)
                ext->read(cr, msg, NULL);
        }
}
