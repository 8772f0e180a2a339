/* SPDX-License-Identifier: Apache-2.0
 *
 * Tracers: where spans begin, how their context goes on, and how they are sent. A provider is one descriptor (otel.c,
 * zipkin.c). Tracers of equal settings are one (as their queues are). Made and freed on the main thread; spans begin and
 * end on workers, each with a queue of its own.
 */
#ifndef PROXY_TRACE_TRACER_H
#define PROXY_TRACE_TRACER_H

#include "base/rng.h"
#include "proxy/custom_tag.h"
#include "proxy/service/batch.h"
#include "proxy/trace/propagation.h"
#include "proxy/trace/sampling.h"

struct tracer_ops {
    /* Ids, parent and sampling of a request's span (its name, client or server, is set). False: nothing of it is traced. */
    bool (*start)(const struct tracer *t, struct span *s, const struct headers *request, bool traced, struct rng *rng);
    void (*inject)(const struct span *s, struct headers *h);
    void (*encode)(const struct tracer *t, const struct span *s, struct strbuf *out);
    void (*free)(struct tracer *t);
};
struct tracer {
    const struct tracer_ops *ops;
    struct batch *batch;             /* NULL until tracer_sends */
    struct batch_number flush_spans; /* as many are sent at once */
    uint32_t spans_max;              /* kept on a thread while the collector doesn't take them; further ones are dropped */
    void (*wrap)(void *wrap_owner, struct str entries, struct strbuf *out);
    void *wrap_owner;
    struct str node_id, zone;        /* in the arena */
    bool names_by_host;              /* spans are called after the request's host */
    void *data;                      /* the provider's */
    struct arena arena;
    struct strbuf key;
    uint32_t refs;
    struct tracer *next;
};

/* A new reference to the tracer of that key (the packed settings); NULL: there is none yet. Main thread. */
struct tracer *tracer_find(struct str key);
struct tracer *tracer_new(struct str key);
/* The rest of it is set; `o` without what, wrap and on_answer. */
void tracer_sends(struct tracer *t, const struct batch_opts *o);
void tracer_unref(struct tracer **t);

/* The Tracing part of a connection manager. */
struct tracing_config {
    struct tracer *tracer;           /* a reference; NULL: decisions are taken, nothing is sent */
    struct sampling_rules sampling;
    bool is_egress, spawn_upstream_span, verbose;
    uint32_t max_path_length;
    struct custom_tag *tags; uint32_t tag_count;
    struct format *operation, *upstream_operation; /* owned; NULL */
};
void tracing_config_fini(struct tracing_config *c);

/* NULL: nothing of it is traced. */
struct span *tracer_start(struct tracer *t, const struct tracing_config *c, const struct headers *request, bool traced,
                          uint64_t wall_us, struct rng *rng, struct arena *a);
struct span *tracer_child(const struct span *parent, struct str name, uint64_t wall_us, struct rng *rng);
static inline void tracer_inject(const struct span *s, struct headers *h);
void tracer_finish(struct span *s, uint64_t wall_us); /* sampled ones are queued; once */

/* tags.c: Envoy's tags, as its documentation's "Trace context: what data each trace contains" lists them. */
void tags_of_request(struct span *s, const struct tracing_config *c, const struct format_context *cx);
void tags_of_attempt(struct span *s, const struct tracing_config *c, const struct format_context *cx);

/* otel.c, zipkin.c: providers over a tracer with its batch. */
enum otel_sampler_kind { OTEL_BY_PARENT_AND_DECISION, OTEL_ALWAYS_ON, OTEL_PARENT_BASED, OTEL_RATIO };
struct otel_sampler {
    enum otel_sampler_kind kind;
    const struct otel_sampler *wrapped; /* PARENT_BASED: of roots */
    uint64_t numerator, denominator;    /* RATIO */
};
void tracer_make_otel(struct tracer *t, const struct otel_sampler *keep_sampler);
/* wrap_owner: a struct str, the packed Resource that each message begins with. */
void otel_wrap(void *owner, struct str entries, struct strbuf *out);
bool otel_ratio_hits(uint64_t trace_high, uint64_t numerator, uint64_t denominator);

struct zipkin_options {
    struct str service_name, address; /* address: of this proxy, as text */
    bool trace_id_128bit, shared_span_context, split_spans, with_w3c, is_proto;
};
void tracer_make_zipkin(struct tracer *t, const struct zipkin_options *keep_options);
void zipkin_encode_json(const struct zipkin_options *o, const struct span *s, struct strbuf *out);
void zipkin_encode_proto(const struct zipkin_options *o, const struct span *s, struct strbuf *out);
void zipkin_wrap_json(void *owner, struct str entries, struct strbuf *out);
void zipkin_wrap_proto(void *owner, struct str entries, struct strbuf *out);

static inline void tracer_inject(const struct span *s, struct headers *h)
{
    s->tracer->ops->inject(s, h);
}

#endif
