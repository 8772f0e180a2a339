/* SPDX-License-Identifier: Apache-2.0
 *
 * What a person asks of explain: a request in outline, as JSON or as form values. The reader takes anything and says what is
 * wrong with it.
 */
#ifndef PROXY_EXPLAIN_REQUEST_H
#define PROXY_EXPLAIN_REQUEST_H

#include "base/arena.h"
#include "base/err.h"
#include "io/addr.h"

#define EXPLAIN_HEADERS_MAX 256 /* of one question; the answer shows them */
#define EXPLAIN_ALPN_MAX 16

struct explain_header {
    struct str name, value; /* name in lower case */
};
struct explain_request {
    struct str method, scheme, authority, path; /* path with query */
    struct explain_header headers[EXPLAIN_HEADERS_MAX];
    uint32_t header_count;
    bool has_source, has_destination; /* IP addresses; the port 0 where none was given */
    struct addr source, destination;
    uint16_t destination_port;        /* alone; 0 none */
    struct str listener, sni;
    struct str principal;             /* URI of the client's verified certificate; "" none */
    bool is_tls, says_transport;
    struct str alpn[EXPLAIN_ALPN_MAX];
    uint32_t alpn_count;
    bool has_random;
    uint64_t random;                  /* what fractions and weights are drawn from */
};

/* All text in the arena, zeroed `out`. ERR_INVALID names the field and the rule. */
int explain_read_json(struct explain_request *out, struct str text, struct arena *a, struct err *err);
/* One form value; "header" ("name: value") and "alpn" may come several times. */
int explain_read_field(struct explain_request *out, struct str key, struct str value, struct arena *a, struct err *err);
/* Once all has been read: what follows from the rest. */
int explain_request_settle(struct explain_request *rq, struct arena *a, struct err *err);

#endif
