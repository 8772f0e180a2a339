/* SPDX-License-Identifier: Apache-2.0
 *
 * OpenSSL's thread-wide error queue made into text. Each call into OpenSSL begins with an empty
 * queue (tls_errors_clear) and whoever sees a failure takes the queue whole, so that a fault of one
 * connection never shows on another. Peers cause the errors; nothing here depends on their bytes.
 */
#include "io/tls_priv.h"

#include "base/mem.h"

/* The form is Envoy's (%DOWNSTREAM_TRANSPORT_FAILURE_REASON%); codes and reasons are OpenSSL's.
 * Spaces inside a reason become underscores as they are there. */
static void add_error(struct strbuf *b, unsigned long code, const char *func)
{
    const char *lib = ERR_lib_error_string(code), *reason = ERR_reason_error_string(code);
    strbuf_addf(b, "|%lu:%s:%s:", code, lib ? lib : "lib", func && *func ? func : "OpenSSL");
    if (!reason)
        strbuf_addf(b, "reason(%d)", ERR_GET_REASON(code));
    for (const char *c = reason; c && *c; c++)
        strbuf_addc(b, *c == ' ' ? '_' : *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c);
}

char *tls_errors_take(const char *verify_text)
{
    struct strbuf b = {0};
    strbuf_addz(&b, "TLS_error:");
    const char *func;
    unsigned long code;
    while ((code = ERR_get_error_all(NULL, NULL, &func, NULL, NULL)) != 0)
        add_error(&b, code, func);
    if (verify_text)
        strbuf_addf(&b, ":%s", verify_text);
    strbuf_addz(&b, ":TLS_error_end");
    return strbuf_take(&b);
}

const char *tls_error_reason(char *out, size_t n)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    snprintf(out, n, "%s", reason ? reason : "unknown cause");
    tls_errors_clear();
    return out;
}
