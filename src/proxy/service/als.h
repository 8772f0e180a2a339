/* SPDX-License-Identifier: Apache-2.0
 *
 * Access logs over gRPC (envoy.service.accesslog.v3). Logs of equal settings share one channel: a buffer and a stream per
 * thread.
 */
#ifndef PROXY_SERVICE_ALS_H
#define PROXY_SERVICE_ALS_H

#include "proxy/custom_tag.h"
#include "proxy/log/access_log.h"
#include "proxy/service/log_batch.h"

struct als_channel;
/* A new reference to the channel of that key (the packed settings); NULL: there is none yet. Main thread, as all here. */
struct als_channel *als_channel_find(struct str key);
/* packed_node: core.v3.Node; may be empty. */
struct als_channel *als_channel_new(struct str key, const struct log_batch_opts *o, bool is_tcp, struct str packed_node, struct str log_name);
struct grpc_service *als_channel_service(struct als_channel *c);
void als_channel_unref(struct als_channel **c);

struct als_log {                     /* filled by the configuration's reader */
    struct arena arena;              /* of all texts */
    struct als_channel *channel;     /* a reference */
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
