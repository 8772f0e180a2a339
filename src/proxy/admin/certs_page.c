/* SPDX-License-Identifier: Apache-2.0
 *
 * /certs: the certificates and certificate authorities of every TLS context in use. Main thread.
 */
#include <stdio.h>
#include <time.h>

#include "proxy/admin/admin_priv.h"
#include "proxy/admin/json_out.h"
#include "proxy/config/tls_source.h"

#define DAY_S 86400

struct writer {
    struct json_out *j;
    int64_t now_s;
};

static void add_time(struct json_out *j, const char *key, int64_t seconds)
{
    char text[40];
    time_t t = (time_t)seconds;
    struct tm tm;
    if (gmtime_r(&t, &tm) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
        json_str(j, key, str_from(text));
}

static void add_names(struct json_out *j, const char *key, const struct str *names)
{
    for (; names && names->p; names++) {
        json_open(j, NULL, '{');
        json_str(j, key, *names);
        json_close(j, '}');
    }
}

static void add_cert(const struct tls_cert_info *info, void *arg)
{
    const struct writer *w = arg;
    struct json_out *j = w->j;
    int64_t left_s = info->not_after_s - w->now_s;
    json_open(j, NULL, '{');
    json_str(j, "path", info->path);
    json_str(j, "serial_number", info->serial_hex);
    json_open(j, "subject_alt_names", '[');
    add_names(j, "dns", info->dns_sans);
    add_names(j, "uri", info->uri_sans);
    add_names(j, "ip_address", info->ip_sans);
    json_close(j, ']');
    json_uint64(j, "days_until_expiration", left_s > 0 ? (uint64_t)(left_s / DAY_S) : 0);
    add_time(j, "valid_from", info->not_before_s);
    add_time(j, "expiration_time", info->not_after_s);
    json_close(j, '}');
}

static void add_source(struct tls_source *source, void *arg)
{
    struct writer *w = arg;
    struct tls_context *context = tls_source_get(source);
    if (!context)
        return;
    json_open(w->j, NULL, '{');
    json_open(w->j, "ca_cert", '[');
    tls_context_each_cert(context, true, add_cert, w);
    json_close(w->j, ']');
    json_open(w->j, "cert_chain", '[');
    tls_context_each_cert(context, false, add_cert, w);
    json_close(w->j, ']');
    json_close(w->j, '}');
    tls_context_unref(&context);
}

void page_certs(struct admin_request *rq)
{
    struct json_out j = {.b = &rq->body};
    struct writer w = {&j, (int64_t)(loop_wall_us(rq->server->main_loop) / 1000000)};
    rq->content_type = "application/json";
    json_open(&j, NULL, '{');
    json_open(&j, "certificates", '[');
    tls_sources_each(add_source, &w);
    json_close(&j, ']');
    json_close(&j, '}');
}
