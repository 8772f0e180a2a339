/* SPDX-License-Identifier: Apache-2.0
 *
 * An authorization service's client: envoy.service.auth.v3.Authorization/Check, or plain HTTP where the status of the answer
 * decides. One question about a request or a connection, one answer, bounded by the service's timeout. What the service says
 * is checked here: names and values that can't stand in a message never reach a filter.
 */
#ifndef PROXY_SERVICE_AUTHZ_SERVICE_H
#define PROXY_SERVICE_AUTHZ_SERVICE_H

#include "proxy/match/string_match.h"
#include "proxy/service/grpc_call.h"
#include "proxy/stream_info.h"

struct format_context;

#define AUTHZ_PARTIAL_BODY STR("x-envoy-auth-partial-body")
#define AUTHZ_ANSWER_MAX_BYTES ((size_t)4 << 20)

struct authz_text { struct str name, value; };
struct authz_names { struct string_match *items; uint32_t count; };
bool authz_names_match(const struct authz_names *n, struct str name);
void authz_names_fini(struct authz_names *n);

struct authz_http_service {
    struct cluster_slot *cluster;
    uint64_t timeout_ms;
    struct str path_prefix;
    struct header_mutation *add; uint32_t add_count;
    struct authz_names upstream, upstream_append; /* of the answer's headers: which go on with an allowed request */
    struct authz_names client, client_on_success; /* … which the client sees; no `client`: all */
    struct authz_names metadata;
};
struct authz_service {
    bool is_http;
    struct grpc_service grpc;
    struct authz_http_service http;
};
void authz_service_fini(struct authz_service *s);

/* What the service is told, by configuration. */
struct authz_telling {
    bool certificate, tls_session, raw_headers, body_as_bytes;
    struct authz_text *labels; uint32_t label_count; /* of the destination */
    struct str *spaces; uint32_t space_count;        /* dynamic metadata */
    struct str *route_spaces; uint32_t route_space_count;
    struct authz_names allowed, disallowed;          /* headers; no `allowed`: all, or of HTTP services the basic ones */
};
struct authz_check {
    const struct authz_telling *telling;
    const struct stream_info *info;
    const struct headers *headers;           /* NULL: of a connection */
    const struct metadata *route_metadata;   /* NULL */
    const struct authz_text *extensions; uint32_t extension_count;
    struct str body;
    bool has_body, is_partial;
    uint64_t size;                           /* of the body as far as it has come */
};

enum authz_verdict { AUTHZ_OK, AUTHZ_DENIED, AUTHZ_ERROR };
enum authz_action { AUTHZ_SET, AUTHZ_APPEND, AUTHZ_ADD, AUTHZ_ADD_IF_ABSENT, AUTHZ_OVERWRITE_IF_EXISTS };
struct authz_header { struct str name, value; enum authz_action action; };
struct authz_headers { struct authz_header *items; uint32_t count; };
struct authz_answer { /* valid during the call */
    enum authz_verdict verdict;
    unsigned status;                         /* for the client; 0: the filter's own */
    struct str body;
    struct authz_headers request, response;  /* `response`: of a denial, or for the response of an allowed request */
    struct str *remove; uint32_t remove_count;
    struct authz_text *query_set; uint32_t query_set_count;
    struct str *query_remove; uint32_t query_remove_count;
    struct meta_value metadata;              /* META_STRUCT or META_NULL */
    bool is_invalid;                         /* something was left out since it can't stand in a message */
};
typedef void (*authz_fn)(void *user, const struct authz_answer *answer);

struct authz_call;
/* NULL: failed at once; `fn` isn't called then, and never from inside. */
struct authz_call *authz_ask(const struct authz_service *s, const struct authz_check *check, const struct format_context *cx,
                             authz_fn fn, void *user);
void authz_call_cancel(struct authz_call **call); /* NULL is fine */

/* authz_request.c: the CheckRequest, packed; false: it doesn't fit. */
bool authz_pack(const struct authz_check *check, struct strbuf *out);
/* The headers that the service may see, those of one name joined, in `a`. */
void authz_visible_headers(const struct authz_check *check, bool is_http, struct arena *a, struct headers *out);
/* authz_answer.c. False: can't be read. */
bool authz_read_grpc(struct str packed, struct arena *a, struct authz_answer *out);
void authz_read_http(const struct authz_http_service *s, const struct headers *h, struct str body, struct arena *a, struct authz_answer *out);

#endif
