/* SPDX-License-Identifier: Apache-2.0
 *
 * OpenTelemetry logs (OTLP over gRPC): records made of formats, exported in batches.
 */
#ifndef PROXY_SERVICE_OTEL_LOG_H
#define PROXY_SERVICE_OTEL_LOG_H

#include "proxy/log/access_log.h"
#include "proxy/service/log_channel.h"

/* opentelemetry.proto.common.v1.AnyValue as configured: text with operators, lists, maps. */
enum otel_kind { OTEL_TEXT, OTEL_LIST, OTEL_MAP };
struct otel_value {
    enum otel_kind kind;
    struct str key;                  /* inside a map */
    struct format *format;           /* TEXT; owned. NULL: … */
    struct str literal;              /* … this text as it is */
    struct otel_value *children; uint32_t child_count;
};
/* Appends the packed AnyValue; of a map's children each as KeyValue. */
void otel_value_add(const struct otel_value *v, const struct format_context *cx, struct strbuf *out);
/* Appends the children of a MAP, each as field `field` of the message they stand in. */
void otel_pairs_add(const struct otel_value *map, unsigned field, const struct format_context *cx, struct strbuf *out);
void otel_value_fini(struct otel_value *v);

struct otel_log {
    struct arena arena;              /* of the trees below */
    struct log_channel *channel;     /* a reference */
    bool has_body;
    struct otel_value body, attributes; /* attributes: a MAP */
};
struct otel_log *otel_log_new(void);
void otel_log_free(struct otel_log **l);
void access_log_to_otel(struct access_log *l, struct otel_log *take);
/* `resource`: packed Resource. `o`'s method is filled here. */
struct log_channel *otel_channel_new(struct str key, const struct log_channel_opts *o, struct str resource);

#endif
