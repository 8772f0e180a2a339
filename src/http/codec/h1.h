/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/1.1 codec, sans I/O (RFC 9110, 9112): bytes in, events out, and back. Strict framing: what
 * two parsers could read in two ways is refused. The parser pulls: the caller asks for the next
 * event until it says H1_MORE.
 */
#ifndef HTTP_CODEC_H1_H
#define HTTP_CODEC_H1_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "http/codec/headers.h"

/* Every limit with the attack that it stops. */
struct h1_limits {
    uint32_t max_head_bytes;     /* start line and fields (60 KiB): memory by endless headers */
    uint32_t max_start_line_bytes; /* within the head; 0 = max_head_bytes: 414 for requests */
    uint32_t max_headers;        /* 100: work by many tiny fields */
    uint32_t max_trailer_bytes;  /* = max_head_bytes */
    uint32_t max_chunk_ext_bytes; /* 4 KiB per body: CPU by endless chunk extensions */
};
#define H1_LIMITS_DEFAULT ((struct h1_limits){60 * 1024, 0, 100, 60 * 1024, 4096})

/* Parse errors: code name, Envoy's response code details, status to answer (requests). */
#define H1_ERROR_TABLE(X)                                                                          \
    X(NONE, "", 0)                                                                                 \
    X(BAD_METHOD, "http1.codec_error", 400)                                                        \
    X(BAD_URL, "http1.invalid_url", 400)                                                           \
    X(BAD_VERSION, "http1.codec_error", 400)                                                       \
    X(UNSUPPORTED_VERSION, "http1.codec_error", 505)                                               \
    X(BAD_STATUS, "http1.codec_error", 0)                                                          \
    X(BAD_HEADER_NAME, "http1.codec_error", 400)                                                   \
    X(BAD_HEADER_VALUE, "http1.invalid_characters", 400)                                           \
    X(BAD_LINE_END, "http1.codec_error", 400)          /* bare CR or LF: smuggling */              \
    X(OBS_FOLD, "http1.codec_error", 400)              /* smuggling */                             \
    X(BAD_CONTENT_LENGTH, "http1.codec_error", 400)                                                \
    X(CONFLICTING_LENGTHS, "http1.content_length_and_chunked_not_allowed", 400) /* CL.TE, TE.CL */ \
    X(BAD_TRANSFER_ENCODING, "http1.invalid_transfer_encoding", 501) /* TE.TE */                   \
    X(TE_IN_HTTP10, "http1.codec_error", 400)                                                      \
    X(BAD_CHUNK, "http1.codec_error", 400)                                                         \
    X(NO_HOST, "missing_host_header", 400)                                                         \
    X(BAD_HOST, "http.invalid_authority", 400)         /* repeated, empty, or not a host */        \
    X(BAD_SCHEME, "http1.invalid_scheme", 400)         /* absolute-form, neither http nor https */ \
    X(FRAGMENT, "path_normalization_failed", 400)      /* '#' in the target */                     \
    X(HTTP10_NOT_ACCEPTED, "low_version", 426)                                                     \
    X(START_LINE_TOO_LONG, "http1.headers_too_large", 414)                                         \
    X(HEADERS_TOO_LARGE, "http1.headers_too_large", 431)                                           \
    X(TOO_MANY_HEADERS, "http1.too_many_headers", 431)                                             \
    X(TRAILERS_TOO_LARGE, "http1.trailers_too_large", 431)                                         \
    X(UNDERSCORE, "http1.unexpected_underscore", 400)                                              \
    X(BODY_NOT_ALLOWED, "http1.body_disallowed", 400)                                              \
    X(EOF_IN_MESSAGE, "http1.codec_error", 400)
enum h1_error {
#define X(name, details, status) H1_ERR_##name,
    H1_ERROR_TABLE(X)
#undef X
};
const char *h1_error_details(enum h1_error e);
unsigned h1_error_status(enum h1_error e);
const char *h1_error_name(enum h1_error e);

enum h1_event {
    H1_MORE,     /* consumed all that was usable */
    H1_HEAD,     /* headers filled; for a request pseudo headers first. Look at parser->head */
    H1_BODY,     /* body bytes were moved to *body */
    H1_TRAILERS, /* trailers filled (chunked with a trailer section) */
    H1_DONE,     /* the message is complete; the next call starts the next message */
    H1_TUNNEL,   /* after h1_parser_tunnel(): all bytes were moved to *body as they are */
    H1_FAILED,   /* see error; the parser is finished */
};

enum h1_underscore { H1_UNDERSCORE_ALLOW, H1_UNDERSCORE_REJECT, H1_UNDERSCORE_DROP };

struct h1_parser_opts {
    struct h1_limits limits;
    bool is_request;
    bool accept_http10;          /* requests; otherwise HTTP10_NOT_ACCEPTED */
    struct str default_host_http10; /* given to HTTP/1.0 requests without Host; "" = refuse them */
    bool allow_absolute_url;     /* default true: absolute-form sets :authority and :scheme (RFC 9112 section 3.2.2) */
    bool keep_trailers;          /* enable_trailers; else they are checked and dropped */
    bool keep_raw_names;         /* preserve_case */
    bool allow_custom_methods;   /* any token; else only registered ones */
    bool allow_chunked_length;   /* Content-Length is dropped where Transfer-Encoding: chunked is there too. Off: refused */
    bool allow_upgrade;          /* a request with Upgrade may become a tunnel */
    enum h1_underscore underscore;
};

/* What the head says about framing. */
struct h1_head {
    uint8_t minor;              /* HTTP/1.minor */
    bool keep_alive;            /* by version and Connection */
    bool chunked;
    bool has_length;
    uint64_t content_length;
    bool until_close;           /* response body ends with the connection */
    bool no_body;               /* the next event is H1_DONE */
    bool upgrade;               /* request: Upgrade named in Connection; response: 101 */
    bool connect;               /* request: CONNECT */
    bool expect_continue;
    bool dropped_underscores;
    uint16_t status;
};

struct h1_parser {
    const struct h1_parser_opts *opts; /* borrowed for the parser's life */
    struct h1_head head;
    enum h1_error error;
    /* private */
    uint8_t state;
    bool peer_was_head;          /* response to HEAD */
    bool peer_was_connect;
    uint32_t scanned;            /* bytes of an incomplete head already searched */
    uint32_t line_start;         /* offset of the line being searched */
    uint32_t line_bytes;         /* of the start line, once its end was found */
    uint32_t ext_bytes;
    uint8_t chunk_digits;
    bool skipped_empty;          /* the empty line that may precede a request */
    uint64_t body_left;
};
void h1_parser_init(struct h1_parser *p, const struct h1_parser_opts *opts);
/* Responses: what the request was, before its response's head is parsed. Holds for 1xx and the final one, until set
 * anew. */
void h1_parser_expect_response_to(struct h1_parser *p, bool head_method, bool connect_method);
/* A request that may become a tunnel (head.connect, head.upgrade) ends with H1_DONE like any other: don't ask for more
 * before its answer is known; then call h1_parser_tunnel(), or go on to the next message (after a refused CONNECT it is
 * safer to close). A 101 response and a 2xx to CONNECT turn the parser into a tunnel by themselves, without H1_DONE.
 * `h` must be an empty list for H1_HEAD and H1_TRAILERS (its arena receives the text). Consumes from `in`. Moves body
 * bytes without copying. 1xx responses other than 101 come as H1_HEAD followed by H1_DONE. */
enum h1_event h1_parser_next(struct h1_parser *p, struct buf *in, struct headers *h, struct buf *body);
/* The peer closed: H1_DONE ends an until-close body; H1_FAILED in the middle of a message; H1_MORE between messages. */
enum h1_event h1_parser_eof(struct h1_parser *p);
/* From now on everything is opaque bytes (after 101, or 2xx to CONNECT). */
void h1_parser_tunnel(struct h1_parser *p);
bool h1_parser_is_between_messages(const struct h1_parser *p);

/* ---- writing ---- */
enum h1_body_form { H1_BODY_NONE, H1_BODY_LENGTH, H1_BODY_CHUNKED, H1_BODY_UNTIL_CLOSE, H1_BODY_TUNNEL };
enum h1_name_case { H1_CASE_LOWER, H1_CASE_PROPER, H1_CASE_PRESERVE };
struct h1_write_opts {
    bool http10;               /* the peer speaks 1.0: no chunks */
    bool end;                  /* no body follows */
    bool close;                /* add Connection: close */
    bool keep_alive;           /* add Connection: keep-alive (to HTTP/1.0 peers) */
    bool response_to_head, response_to_connect;
    bool absolute_form;        /* request target for a forward proxy */
    bool upgrade;              /* keep Connection: upgrade and Upgrade */
    bool enable_trailers;
    enum h1_name_case name_case;
};
/* Writes start line and fields (hop-by-hop ones are the caller's; framing fields are decided here) and says which form
 * the body must have. A request with a body of unknown length is chunked. Header text must be valid; CR/LF/NUL in a
 * value is a bug upstream of this and is refused with false (response splitting). */
bool h1_write_request(struct buf *out, const struct headers *h, const struct h1_write_opts *opts, enum h1_body_form *form);
bool h1_write_response(struct buf *out, const struct headers *h, const struct h1_write_opts *opts, enum h1_body_form *form);
/* Body bytes are moved, framed for the form. */
void h1_write_body(struct buf *out, enum h1_body_form form, struct buf *data);
/* Ends the body (last chunk and trailers for chunked ones). trailers may be NULL. */
void h1_write_end(struct buf *out, enum h1_body_form form, const struct headers *trailers, enum h1_name_case name_case);
const char *http_reason(unsigned status); /* "OK"; "Unknown" */

#endif
