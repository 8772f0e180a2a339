/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of pages, the home page and the help.
 */
#include "proxy/admin/admin_priv.h"

const struct admin_page admin_pages[] = {
    {"/", page_home, false, "Admin home page"},
    {"/certs", page_certs, false, "print certs on machine"},
    {"/clusters", page_clusters, false, "upstream cluster status (filter, format=json)"},
    {"/config_dump", page_config_dump, false, "dump the active configuration (resource, mask, name_regex, include_eds)"},
    {"/drain_listeners", page_drain_listeners, true, "drain listeners (graceful, inboundonly, skip_exit)"},
    {"/explain", page_explain, true, "tell where a request would go and why (url, method, header, source, destination, listener, sni, format=json)"},
    {"/healthcheck/fail", page_healthcheck_fail, true, "cause the server to fail health checks"},
    {"/healthcheck/ok", page_healthcheck_ok, true, "cause the server to pass health checks"},
    {"/help", page_help, false, "print out list of admin commands"},
    {"/hystrix_event_stream", page_hystrix, false, "stream hystrix events (where the hystrix sink is configured)"},
    {"/listeners", page_listeners, false, "print listener info (format=json)"},
    {"/logging", page_logging, true, "query or change logging levels (level=L, paths=a:L,b:L, COMPONENT=L)"},
    {"/memory", page_memory, false, "print current allocation"},
    {"/quitquitquit", page_quitquitquit, true, "exit the server"},
    {"/ready", page_ready, false, "print server state, 200 if LIVE, otherwise 503"},
    {"/reopen_logs", page_reopen_logs, true, "reopen access logs"},
    {"/reset_counters", page_reset_counters, true, "reset all counters to zero"},
    {"/runtime", page_runtime, false, "print runtime values"},
    {"/runtime_modify", page_runtime_modify, true, "change runtime values (key=value, empty removes)"},
    {"/server_info", page_server_info, false, "print server version/status information"},
    {"/stats", page_stats, false, "print server stats (filter, invert_filter, usedonly, type, histogram_buckets, format=json|prometheus|text)"},
    {"/stats/prometheus", page_stats_prometheus, false, "print server stats in prometheus format (filter, invert_filter, usedonly)"},
    {"/unsupported", page_unsupported, false, "fields of the configuration that are not supported and were left out"},
};
const size_t admin_page_count = ARRAY_LEN(admin_pages);

void admin_help_text(struct strbuf *out)
{
    strbuf_addz(out, "admin commands are:\n");
    for (size_t i = 0; i < admin_page_count; i++)
        strbuf_addf(out, "  %s%s: %s\n", admin_pages[i].path, admin_pages[i].mutates ? " (POST)" : "",
                    admin_pages[i].help);
}

void page_help(struct admin_request *rq)
{
    admin_help_text(&rq->body);
}

void page_home(struct admin_request *rq)
{
    struct strbuf *b = &rq->body;
    rq->content_type = "text/html; charset=UTF-8";
    strbuf_addz(b, "<!DOCTYPE html><html lang=\"en\"><head><title>weft-proxy admin</title><style>body{font-family:"
                   "sans-serif;margin:2em}td{padding:.2em 1em .2em 0}</style></head><body><h1>weft-proxy</h1><table>\n");
    for (size_t i = 0; i < admin_page_count; i++) {
        const struct admin_page *p = &admin_pages[i];
        if (p->mutates)
            strbuf_addf(b, "<tr><td><form method=\"post\" action=\"%s\"><button>%s</button></form></td><td>%s</td></tr>\n",
                        p->path + 1, p->path + 1, p->help);
        else if (p->path[1])
            strbuf_addf(b, "<tr><td><a href=\"%s\">%s</a></td><td>%s</td></tr>\n", p->path + 1, p->path + 1, p->help);
    }
    strbuf_addz(b, "</table></body></html>\n");
}
