/* SPDX-License-Identifier: Apache-2.0
 *
 * What people ask of /explain: a JSON document, or form values with one "key=value" a line. A question that is taken is
 * whole: a method, a scheme, printable values, addresses that are IP ones; one that is refused says why.
 */
#include "base/check.h"
#include "http/codec/headers.h"
#include "proxy/explain/request.h"

#define FUZZ_ARENA_BYTES ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_fields(struct explain_request *rq, struct str text, struct arena *a, struct err *err)
{
    int rc = 0;
    while (rc == 0 && text.p) {
        struct str value, line = str_split(text, '\n', &text), key = str_split(line, '=', &value);
        if (key.n)
            rc = explain_read_field(rq, key, value, a, err);
    }
    return rc;
}

static void check_question(const struct explain_request *rq)
{
    CHECK(header_name_is_valid(rq->method) && rq->scheme.n);
    CHECK(header_value_is_valid(rq->authority) && header_value_is_valid(rq->path) && header_value_is_valid(rq->sni));
    CHECK(rq->path.p || str_eq(rq->method, STR("CONNECT")));
    CHECK(rq->header_count <= EXPLAIN_HEADERS_MAX && rq->alpn_count <= EXPLAIN_ALPN_MAX);
    CHECK(!rq->has_source || addr_is_ip(&rq->source));
    CHECK(!rq->has_destination || addr_is_ip(&rq->destination));
    for (uint32_t i = 0; i < rq->header_count; i++)
        CHECK(header_name_is_valid(rq->headers[i].name) && header_value_is_valid(rq->headers[i].value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_make((const char *)data, size);
    struct err err = {0};
    struct arena a;
    arena_init(&a, FUZZ_ARENA_BYTES);
    struct explain_request *rq = arena_zalloc(&a, sizeof(*rq));
    int rc = size && data[0] == '{' ? explain_read_json(rq, text, &a, &err) : read_fields(rq, text, &a, &err);
    if (rc == 0)
        rc = explain_request_settle(rq, &a, &err);
    if (rc == 0)
        check_question(rq);
    else
        CHECK(err.message[0]);
    arena_fini(&a);
    return 0;
}
