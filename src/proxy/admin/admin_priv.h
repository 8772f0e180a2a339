/* SPDX-License-Identifier: Apache-2.0
 *
 * Room-private: one request to the admin server and the table of pages.
 */
#ifndef PROXY_ADMIN_ADMIN_PRIV_H
#define PROXY_ADMIN_ADMIN_PRIV_H

#include "base/buf.h"
#include "base/check.h"
#include "proxy/admin/admin.h"
#include "proxy/server.h"

struct http_stream;
struct admin_live_def;
struct admin_request {
    struct server *server;
    struct str method, path, query; /* path without query */
    struct str target;              /* both, as received */
    struct strbuf body;             /* the answer */
    struct buf long_body;           /* what follows it: pages of megabytes travel to the socket without a copy */
    unsigned status;                /* 200 */
    const char *content_type;       /* "text/plain; charset=UTF-8" */
    uint64_t body_bytes;            /* of the request */
    struct str form;                /* the body of a POST, where it is form values or JSON */
    bool accepts_json;              /* Accept asks for it */
    void (*then)(struct server *s); /* run once the answer is on its way; NULL */
    const struct admin_live_def *live; /* the answer goes on, instead of `body`; NULL */
};

/* An answer without an end (server-sent events): begun by a page, written to later by whoever has something to tell. At
 * most ADMIN_LIVE_MAX at a time. */
#define ADMIN_LIVE_MAX 16
struct admin_live {
    const struct admin_live_def *def;
    struct http_stream *stream;     /* NULL once closed */
    struct server *server;
    bool is_behind;                 /* the reader hasn't taken what was written */
    void *user;                     /* the page's */
};
struct admin_live_def {
    const char *content_type;
    const struct admin_header { const char *name, *value; } *headers; /* further ones */
    size_t header_count;
    void (*on_open)(struct admin_live *l);   /* the head is on its way */
    void (*on_closed)(struct admin_live *l); /* once, last; not to be freed here */
};
/* A reader that is still behind is dropped instead: false, and on_closed was called. */
bool admin_live_write(struct admin_live *l, struct str text);

#define ADMIN_FORM_MAX_BYTES (64 * 1024) /* what a client can make the main thread hold for one request */

struct admin_page {
    const char *path;
    void (*fn)(struct admin_request *rq);
    bool mutates;                   /* POST only */
    const char *help;
};
/* Envoy's order: by path. */
extern const struct admin_page admin_pages[];
extern const size_t admin_page_count;

/* A query parameter, percent-decoded into the heap (mem_free); NULL when absent. */
char *admin_param(const struct admin_request *rq, const char *name);
bool admin_param_is_set(const struct admin_request *rq, const char *name);
/* Goes through "a=b&c" and form values; both are heap text, "" where there is no value. False at the end. */
bool admin_params_next(struct str *rest, char **key, char **value);
bool admin_wants_json(struct admin_request *rq); /* format=json: also sets the content type */
void admin_refuse(struct admin_request *rq, unsigned status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Answers without a connection: what the admin server does with a request once it is whole. */
void admin_run(struct admin_request *rq);
struct http_server_conn;
struct headers;
/* A line in each of admin.access_log: admin_log.c. */
void admin_log(const struct admin_request *rq, struct http_server_conn *c, const struct headers *request,
               const struct headers *response, uint64_t start_us, uint64_t start_wall_us);
struct json_out;
void admin_json_address(struct json_out *j, const char *key, const struct addr *a); /* core.v3.Address */

/* pages, by file */
void page_stats(struct admin_request *rq);            /* stats_page.c */
void page_stats_prometheus(struct admin_request *rq); /* prometheus.c */
void page_clusters(struct admin_request *rq);         /* clusters_page.c */
void page_listeners(struct admin_request *rq);        /* listeners_page.c */
void page_config_dump(struct admin_request *rq);      /* config_page.c */
void page_unsupported(struct admin_request *rq);
void page_certs(struct admin_request *rq);            /* certs_page.c */
void page_hystrix(struct admin_request *rq);          /* hystrix_page.c */
void page_server_info(struct admin_request *rq);      /* info_page.c */
void page_ready(struct admin_request *rq);
void page_memory(struct admin_request *rq);
void page_runtime(struct admin_request *rq);          /* control_page.c */
void page_runtime_modify(struct admin_request *rq);
void page_logging(struct admin_request *rq);
void page_reopen_logs(struct admin_request *rq);
void page_healthcheck_fail(struct admin_request *rq);
void page_healthcheck_ok(struct admin_request *rq);
void page_reset_counters(struct admin_request *rq);
void page_drain_listeners(struct admin_request *rq);
void page_quitquitquit(struct admin_request *rq);
void page_explain(struct admin_request *rq);          /* explain_page.c */
void page_home(struct admin_request *rq);             /* home_page.c */
void page_help(struct admin_request *rq);
void admin_help_text(struct strbuf *out);

/* Selection shared by the statistics pages. */
struct stats_selection {
    struct regex *filter; /* NULL: all */
    bool used_only, invert_filter;
    bool one_kind;
    uint8_t kind; /* enum stat_kind, where one_kind */
};
bool stats_selection_read(struct admin_request *rq, struct stats_selection *sel); /* false: refused already */
void stats_selection_fini(struct stats_selection *sel);
struct stat_sample;
bool stats_selected(const struct stats_selection *sel, const struct stat_sample *s);

void stats_flush_when_asked(struct server *s); /* stats_flush_on_admin */

/* Histograms: histogram_text.c. */
enum histogram_mode { HISTOGRAM_SUMMARY, HISTOGRAM_CUMULATIVE, HISTOGRAM_DISJOINT, HISTOGRAM_DETAILED };
void admin_add_double(struct strbuf *b, double v);
void admin_histogram_text(struct strbuf *b, const struct stat_sample *s, enum histogram_mode mode);
void admin_histogram_json(struct strbuf *b, const struct stat_sample *s, enum histogram_mode mode);
void admin_histograms_json_head(struct strbuf *b, enum histogram_mode mode);
void admin_histograms_json_tail(struct strbuf *b, enum histogram_mode mode);

#endif
