/* SPDX-License-Identifier: Apache-2.0
 *
 * The outcome and response-flag tables in compiled form. Pure; any thread.
 */
#include "proxy/outcome.h"

#include "base/check.h"

const struct outcome outcomes[] = {
#define X(name, flag, http, grpc, retry, details) {#name, details, flag, http, grpc, retry},
    OUTCOME_TABLE(X)
#undef X
};

static const struct {
    uint32_t flag;
    struct str short_name, long_name;
} flag_names[] = {
#define X(bit, name, text) {1u << (bit), {#name, sizeof(#name) - 1}, {text, sizeof(text) - 1}},
    RESPONSE_FLAG_TABLE(X)
#undef X
};

size_t response_flags_format(uint32_t flags, bool long_form, char *out, size_t n)
{
    size_t at = 0;
    if (!flags) {
        if (n)
            out[at++] = '-';
        return at;
    }
    for (size_t i = 0; i < ARRAY_LEN(flag_names); i++) {
        if (!(flags & flag_names[i].flag))
            continue;
        struct str name = long_form ? flag_names[i].long_name : flag_names[i].short_name;
        if (at + name.n + 1 > n)
            break;
        if (at)
            out[at++] = ',';
        memcpy(out + at, name.p, name.n);
        at += name.n;
    }
    return at;
}

bool response_flag_parse(struct str short_name, uint32_t *flag)
{
    for (size_t i = 0; i < ARRAY_LEN(flag_names); i++) {
        if (str_eq(short_name, flag_names[i].short_name)) {
            *flag = flag_names[i].flag;
            return true;
        }
    }
    return false;
}

/* The public mapping between HTTP and gRPC codes (grpc/doc/http-grpc-status-mapping). */
int grpc_status_of_http(unsigned http_status)
{
    switch (http_status) {
    case 400:
        return 13; /* internal */
    case 401:
        return 16; /* unauthenticated */
    case 403:
        return 7; /* permission denied */
    case 404:
        return 12; /* unimplemented */
    case 429:
    case 502:
    case 503:
    case 504:
        return 14; /* unavailable */
    default:
        return 2; /* unknown */
    }
}

unsigned http_status_of_grpc(int grpc_status)
{
    static const uint16_t table[] = {200, 499, 500, 400, 504, 404, 409, 403, 429,
                                     400, 409, 400, 501, 500, 503, 500, 401};
    if (grpc_status < 0 || (size_t)grpc_status >= ARRAY_LEN(table))
        return 500;
    return table[grpc_status];
}
