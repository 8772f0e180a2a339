/* SPDX-License-Identifier: Apache-2.0
 *
 * Access logs over gRPC (envoy.service.accesslog.v3).
 */
#ifndef PROXY_SERVICE_ALS_H
#define PROXY_SERVICE_ALS_H

#include "proxy/custom_tag.h"
#include "proxy/log/access_log.h"
#include "proxy/service/log_channel.h"

/* packed_node: core.v3.Node; may be empty. `o`'s stream, method and statistics are filled here. */
struct log_channel *als_channel_new(struct str key, const struct log_channel_opts *o, bool is_tcp, struct str packed_node, struct str log_name);

struct als_log {                     /* filled by the configuration's reader */
    struct arena arena;              /* of all texts */
    struct log_channel *channel;     /* a reference */
    bool is_tcp;
    struct str *request_headers, *response_headers, *response_trailers; /* lower case */
    uint32_t request_header_count, response_header_count, response_trailer_count;
    struct str *filter_state; uint32_t filter_state_count;
    struct custom_tag *tags; uint32_t tag_count;
};
struct als_log *als_log_new(void);
void als_log_free(struct als_log **l);
void access_log_to_als(struct access_log *l, struct als_log *take);

/* als_entry.c: one packed entry, framed as item of its list, appended. */
void als_entry_add(const struct als_log *l, const struct format_context *cx, struct strbuf *out);

#endif
