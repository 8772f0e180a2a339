/* SPDX-License-Identifier: Apache-2.0
 *
 * The constant tables of the HTTP/1.1 codec: errors, reason phrases (RFC 9110 section 15 and the
 * IANA registry), registered methods, token characters. No state.
 */
#include "http/codec/h1_priv.h"

#include "base/check.h"

static const struct {
    const char *name, *details;
    unsigned status;
} errors[] = {
#define X(name, details, status) {#name, details, status},
    H1_ERROR_TABLE(X)
#undef X
};

const char *h1_error_details(enum h1_error e)
{
    return e < ARRAY_LEN(errors) ? errors[e].details : "";
}

unsigned h1_error_status(enum h1_error e)
{
    return e < ARRAY_LEN(errors) ? errors[e].status : 0;
}

const char *h1_error_name(enum h1_error e)
{
    return e < ARRAY_LEN(errors) ? errors[e].name : "";
}

#define REASON_TABLE(X)                                                                            \
    X(100, "Continue") X(101, "Switching Protocols") X(102, "Processing") X(103, "Early Hints")    \
    X(200, "OK") X(201, "Created") X(202, "Accepted")                                              \
    X(203, "Non-Authoritative Information") X(204, "No Content") X(205, "Reset Content")           \
    X(206, "Partial Content") X(207, "Multi-Status") X(208, "Already Reported")                    \
    X(226, "IM Used") X(300, "Multiple Choices") X(301, "Moved Permanently") X(302, "Found")       \
    X(303, "See Other") X(304, "Not Modified") X(305, "Use Proxy")                                 \
    X(307, "Temporary Redirect") X(308, "Permanent Redirect") X(400, "Bad Request")                \
    X(401, "Unauthorized") X(402, "Payment Required") X(403, "Forbidden") X(404, "Not Found")      \
    X(405, "Method Not Allowed") X(406, "Not Acceptable")                                          \
    X(407, "Proxy Authentication Required") X(408, "Request Timeout") X(409, "Conflict")           \
    X(410, "Gone") X(411, "Length Required") X(412, "Precondition Failed")                         \
    X(413, "Payload Too Large") X(414, "URI Too Long") X(415, "Unsupported Media Type")            \
    X(416, "Range Not Satisfiable") X(417, "Expectation Failed") X(421, "Misdirected Request")     \
    X(422, "Unprocessable Entity") X(423, "Locked") X(424, "Failed Dependency")                    \
    X(425, "Too Early") X(426, "Upgrade Required") X(428, "Precondition Required")                 \
    X(429, "Too Many Requests") X(431, "Request Header Fields Too Large")                          \
    X(451, "Unavailable For Legal Reasons") X(500, "Internal Server Error")                        \
    X(501, "Not Implemented") X(502, "Bad Gateway") X(503, "Service Unavailable")                  \
    X(504, "Gateway Timeout") X(505, "HTTP Version Not Supported")                                 \
    X(506, "Variant Also Negotiates") X(507, "Insufficient Storage") X(508, "Loop Detected")       \
    X(510, "Not Extended") X(511, "Network Authentication Required")

const char *http_reason(unsigned status)
{
    switch (status) {
#define X(code, text)                                                                              \
    case code:                                                                                     \
        return text;
        REASON_TABLE(X)
#undef X
    default:
        return "Unknown";
    }
}

/* The usual ones first: the search is linear and ends there for nearly every request. The rest is
 * IANA's registry (without PRI, RFC 9113 section 11.6) and what UPnP and caches use. */
static const struct str methods[] = {
#define M(name) {name, sizeof(name) - 1}
    M("GET"),         M("POST"),      M("PUT"),        M("DELETE"),          M("HEAD"),
    M("OPTIONS"),     M("PATCH"),     M("CONNECT"),    M("TRACE"),           M("ACL"),
    M("BASELINE-CONTROL"), M("BIND"), M("CHECKIN"),    M("CHECKOUT"),        M("COPY"),
    M("LABEL"),       M("LINK"),      M("LOCK"),       M("M-SEARCH"),        M("MERGE"),
    M("MKACTIVITY"),  M("MKCALENDAR"), M("MKCOL"),     M("MKREDIRECTREF"),   M("MKWORKSPACE"),
    M("MOVE"),        M("NOTIFY"),    M("ORDERPATCH"), M("PROPFIND"),        M("PROPPATCH"),
    M("PURGE"),       M("QUERY"),     M("REBIND"),     M("REPORT"),          M("SEARCH"),
    M("SOURCE"),      M("SUBSCRIBE"), M("UNBIND"),     M("UNCHECKOUT"),      M("UNLINK"),
    M("UNLOCK"),      M("UNSUBSCRIBE"), M("UPDATE"),   M("UPDATEREDIRECTREF"),
    M("VERSION-CONTROL"),
#undef M
};

bool h1_method_is_registered(struct str method)
{
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if (str_eq(methods[i], method))
            return true;
    }
    return false;
}

#define SAME1(c) [c] = c
#define FOLD1(c) [c] = c, [(c) - 0x20] = c
const unsigned char h1_token_lower[256] = {
    SAME1('!'), SAME1('#'), SAME1('$'), SAME1('%'), SAME1('&'), SAME1('\''), SAME1('*'), SAME1('+'),
    SAME1('-'), SAME1('.'), SAME1('^'), SAME1('_'), SAME1('`'), SAME1('|'),  SAME1('~'), SAME1('0'),
    SAME1('1'), SAME1('2'), SAME1('3'), SAME1('4'), SAME1('5'), SAME1('6'),  SAME1('7'), SAME1('8'),
    SAME1('9'), FOLD1('a'), FOLD1('b'), FOLD1('c'), FOLD1('d'), FOLD1('e'),  FOLD1('f'), FOLD1('g'),
    FOLD1('h'), FOLD1('i'), FOLD1('j'), FOLD1('k'), FOLD1('l'), FOLD1('m'),  FOLD1('n'), FOLD1('o'),
    FOLD1('p'), FOLD1('q'), FOLD1('r'), FOLD1('s'), FOLD1('t'), FOLD1('u'),  FOLD1('v'), FOLD1('w'),
    FOLD1('x'), FOLD1('y'), FOLD1('z'),
};
