/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP filters. A filter knows this interface and no other filter. Requests run down the chain,
 * responses back up in reverse; the last filter (the router) is terminal and produces the response.
 * A filter may stop iteration and continue it later from any event of its own (asynchronous calls);
 * whatever it doesn't let pass is buffered within limits, or held back by flow control.
 *
 * Everything runs on the exchange's worker. After on_destroy the filter is gone; an asynchronous call
 * of its own must be cancelled there.
 */
#ifndef PROXY_FILTER_HTTP_FILTER_H
#define PROXY_FILTER_HTTP_FILTER_H

#include "base/buf.h"
#include "base/rng.h"
#include "http/codec/headers.h"
#include "io/loop.h"
#include "proxy/filter/filter_words.h"
#include "proxy/outcome.h"
#include "proxy/stream_info.h"

struct tracing_config;
struct exchange; /* one request and its response, proxy/hcm/exchange.h */
struct http_filter;
struct route_decision;
struct route_entry;
struct stat_scope;
struct format_context;

enum filter_headers {
    FILTER_HEADERS_CONTINUE,
    FILTER_HEADERS_STOP,            /* later filters see nothing yet; body still comes to this filter */
    FILTER_HEADERS_STOP_ALL_BUFFER, /* nothing more comes to this filter either; body buffered, 413/500 past the limit */
    FILTER_HEADERS_STOP_ALL_WATERMARK, /* the same, but past the limit the sender is paused */
};
enum filter_data {
    FILTER_DATA_CONTINUE,
    FILTER_DATA_STOP_BUFFER,        /* keep; 413 (request) / 500 (response) past the limit */
    FILTER_DATA_STOP_WATERMARK,     /* keep; past the limit pause the sender */
    FILTER_DATA_STOP_NO_BUFFER,     /* the filter took the bytes */
};
enum filter_trailers { FILTER_TRAILERS_CONTINUE, FILTER_TRAILERS_STOP };

struct http_filter_def {
    const char *name;               /* "envoy.filters.http.router" */
    uint32_t state_bytes;           /* zeroed per-request state, in the exchange's arena; aligned to 16 */
    bool is_terminal;
    void (*init)(struct http_filter *f);
    enum filter_headers (*on_request_headers)(struct http_filter *f, struct headers *h, bool end);
    enum filter_data (*on_request_data)(struct http_filter *f, struct buf *data, bool end);
    enum filter_trailers (*on_request_trailers)(struct http_filter *f, struct headers *h);
    enum filter_headers (*on_informational)(struct http_filter *f, struct headers *h);
    enum filter_headers (*on_response_headers)(struct http_filter *f, struct headers *h, bool end);
    enum filter_data (*on_response_data)(struct http_filter *f, struct buf *data, bool end);
    enum filter_trailers (*on_response_trailers)(struct http_filter *f, struct headers *h);
    /* The downstream's send queue is full (above) / drained: a producer of response data pauses / resumes. */
    void (*on_downstream_watermark)(struct http_filter *f, bool above);
    void (*on_complete)(struct http_filter *f); /* just before access logs are written */
    void (*on_destroy)(struct http_filter *f);
    uint64_t (*held_bytes)(const struct http_filter *f); /* memory it keeps for this exchange, for overload */
    /* Main thread, once for every place in a chain, when what the configuration refers to exists: statistics scopes and
     * such; undone by the configuration's free_config. `stats` is the connection manager's scope, "http.<prefix>.". */
    void (*link)(void *config, struct stat_scope *stats);
    /* Main thread, of a rehearsed request (hcm/rehearsal.h): no state, no slot; counts and changes nothing. NULL: can't say. */
    void (*explain)(struct http_filter *f, struct filter_words *out);
}; /* any callback may be NULL: pass through */

struct http_filter {
    const struct http_filter_def *def;
    const void *config;             /* made by proxy/config; lives as long as the HCM's snapshot */
    struct exchange *x;
    void *state;
    uint8_t index;                  /* place in the chain */
};

/* An entry of a filter chain as configured. */
struct http_filter_spec {
    struct str name;                /* the configured name, key of typed_per_filter_config */
    const struct http_filter_def *def;
    const void *config;
    void (*free_config)(void *config);
    bool disabled;                  /* enabled per route only */
    struct filter_source *dynamic;  /* filter/filter_source.h: def and config come from there; NULL */
};

/* ---- what a filter may do with its exchange ---- */
struct arena *exchange_arena(struct exchange *x);
struct loop *exchange_loop(struct exchange *x);
struct stream_info *exchange_info(struct exchange *x);
struct stat_scope *exchange_stats(struct exchange *x);          /* the connection manager's, http.<prefix>. */
uint64_t exchange_body_limit_bytes(const struct exchange *x);   /* what may be held back per direction */
void exchange_set_body_limit_bytes(struct exchange *x, uint64_t bytes);
struct headers *exchange_request_headers(struct exchange *x);
struct headers *exchange_request_trailers(struct exchange *x);  /* NULL when none (yet) */
struct headers *exchange_response_headers(struct exchange *x);  /* NULL before */
struct headers *exchange_response_trailers(struct exchange *x);
bool exchange_request_is_complete(const struct exchange *x);
bool exchange_response_has_started(const struct exchange *x);   /* headers went downstream */
/* The route, matched once and cached; NULL when none matches. */
const struct route_entry *exchange_route(struct exchange *x);
/* The whole decision (virtual host, weighted cluster, cluster); never NULL, its route may be. */
const struct route_decision *exchange_decision(struct exchange *x);
/* The next look decides anew (a filter changed what routes match on). */
void exchange_clear_route_cache(struct exchange *x);
/* The same, with the routes that stand now instead of those that it saw first. */
void exchange_renew_routes(struct exchange *x);
/* Asks the management server for the virtual host that the routes lack (route/vhost_ask.h); NULL: they don't, or can't. */
struct vhost_ask *exchange_ask_vhost(struct exchange *x, void (*on_answer)(void *arg), void *arg);
/* This filter's per-route configuration, the most specific (weighted cluster, route, virtual host, configuration); NULL
 * when there is none. */
const void *exchange_route_config(struct http_filter *f);
/* All of them, the least specific first, for filters that apply each or merge them. How many there are (at most 4). */
uint32_t exchange_route_configs(struct http_filter *f, const void *out[4]);
/* One number for this request, the same at every look: fractions drawn from it agree with each other. */
uint64_t exchange_random(const struct exchange *x);
const struct tracing_config *exchange_tracing(const struct exchange *x); /* trace/tracer.h; there where info's span is */
/* What formats (header values, descriptors) may look at now; valid while the exchange stands. */
const struct format_context *exchange_format_context(struct exchange *x);
/* Puts a decision back that was cleared for a look at another one. */
void exchange_put_decision(struct exchange *x, const struct route_decision *d);
/* Starts again as if the request had just arrived with its (changed) headers: a new decision, a new chain (internal
 * redirects). Only for complete requests whose body the caller hands in; the present filters are destroyed at once. The
 * pass that ends is logged with its info's status and details, and `response`. */
void exchange_restart(struct exchange *x, struct headers *response, struct buf *body);

/* Zeroed memory under `key` that all exchanges of this downstream connection share; the same for the same key, gone with the
 * connection. At most a few keys a connection: configurations, not what peers choose. */
void *exchange_connection_data(struct exchange *x, const void *key, size_t bytes);

void exchange_continue_request(struct http_filter *f);
void exchange_continue_response(struct http_filter *f);
/* What was kept back at this filter because it stopped; it may change it. */
struct buf *exchange_request_buffer(struct http_filter *f);
struct buf *exchange_response_buffer(struct http_filter *f);
/* Body injected as if this filter had received it, towards the next filter. */
void exchange_add_request_data(struct http_filter *f, struct buf *data, bool end);
void exchange_add_response_data(struct http_filter *f, struct buf *data, bool end);
/* Only from on_request_data / on_response_data with `end`: trailers that follow these bytes, which are then not the end for
 * the filters to come. NULL when the memory of the exchange is used up. */
struct headers *exchange_add_request_trailers(struct http_filter *f);
struct headers *exchange_add_response_trailers(struct http_filter *f);
/* The filters of f's kind in this exchange's chain, in order, f among them; how many (at most max). */
uint32_t exchange_filters_alike(struct http_filter *f, struct http_filter **out, uint32_t max);

/* Ends the exchange with our own answer, from the filter's place upwards through the response filters. When a response has
 * begun the stream is reset instead. `details` replaces outcome->details when not null; body: text/plain. grpc requests get
 * trailers-only answers. `edit` may add headers. */
void exchange_local_reply(struct exchange *x, const struct outcome *o, unsigned status, struct str body, struct str details,
                          void (*edit)(struct headers *h, void *arg), void *arg);
void exchange_reset(struct exchange *x, const struct outcome *o); /* downstream stream reset, no answer */

/* ---- for the terminal filter: the response enters the chain here ---- */
void exchange_response_informational(struct exchange *x, struct headers *h);
void exchange_respond_headers(struct exchange *x, struct headers *h, bool end);
void exchange_respond_data(struct exchange *x, struct buf *data, bool end);
void exchange_respond_trailers(struct exchange *x, struct headers *h);
/* Flow control towards the client: counted pauses of request body. */
void exchange_pause_request(struct exchange *x, bool on);
/* … and towards the producer of the response: counted pauses of its body. */
void exchange_pause_response(struct exchange *x, bool on);

#endif
