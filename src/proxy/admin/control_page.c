/* SPDX-License-Identifier: Apache-2.0
 *
 * Pages that change something: runtime values, log levels, health, counters, draining, the end.
 * Main thread. A page that fails has changed nothing, except /runtime_modify, which stops at the
 * first value refused.
 */
#include "base/log.h"
#include "base/mem.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/listener/listener.h"
#include "proxy/log/access_log.h"
#include "proxy/runtime.h"
#include "proxy/stats/registry.h"

static void say_ok(struct admin_request *rq)
{
    strbuf_addz(&rq->body, "OK\n");
}

/* ---- runtime ---- */

void page_runtime(struct admin_request *rq)
{
    rq->content_type = "application/json";
    runtime_dump_json(&rq->body);
}

static int modify_all(struct str params, size_t *count, struct err *err)
{
    char *key, *value;
    int rc = 0;
    while (rc == 0 && admin_params_next(&params, &key, &value)) {
        if (*key) {
            rc = runtime_modify(str_from(key), str_from(value), err);
            ++*count;
        }
        mem_free(key);
        mem_free(value);
    }
    return rc;
}

void page_runtime_modify(struct admin_request *rq)
{
    struct err err = {0};
    size_t count = 0;
    int rc = modify_all(rq->query.n ? rq->query : rq->form, &count, &err);
    if (rc == ERR_STATE)
        admin_refuse(rq, 503, "No admin layer specified");
    else if (rc < 0)
        admin_refuse(rq, 400, "%s\n", err.message);
    else if (!count)
        admin_refuse(rq, 400,
                     "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n"
                     "       or send the parameters as form values\n"
                     "use an empty value to remove a previously added override\n");
    else
        say_ok(rq);
}

/* ---- logging ---- */

static void list_loggers(struct strbuf *b)
{
    strbuf_addz(b, "active loggers:\n");
    for (int c = 0; c < LOG_COMPONENT_COUNT; c++)
        strbuf_addf(b, "  %s: %s\n", log_component_text(c), log_level_text(log_levels[c]));
    strbuf_addc(b, '\n');
}

static bool is_logger(const char *name)
{
    for (int c = 0; c < LOG_COMPONENT_COUNT; c++)
        if (strcmp(log_component_text(c), name) == 0)
            return true;
    return false;
}

/* What is wrong with it, or NULL; `apply`: it was checked before. */
static const char *set_one(const char *name, const char *level, bool apply)
{
    enum log_level l;
    if (!*name || !*level)
        return "empty logger name or empty logger level";
    if (!log_level_parse(level, &l))
        return "unknown logger level";
    if (!is_logger(name))
        return "unknown logger name";
    if (apply)
        log_set_level(name, l);
    return NULL;
}

static const char *set_list(struct str list, bool apply) /* "a:info,b:debug" */
{
    const char *wrong = NULL;
    while (!wrong && list.p) {
        struct str level, name = str_split(str_split(list, ',', &list), ':', &level);
        char *n = mem_strndup(name.p, name.n), *l = mem_strndup(level.p ? level.p : "", level.n);
        wrong = set_one(n, l, apply);
        mem_free(n);
        mem_free(l);
    }
    return wrong;
}

static const char *set_levels(const char *key, const char *value)
{
    enum log_level l;
    if (strcmp(key, "paths") == 0 || strcmp(key, "group") == 0) {
        const char *wrong = set_list(str_from(value), false);
        return wrong ? wrong : set_list(str_from(value), true);
    }
    if (strcmp(key, "level") != 0)
        return set_one(key, value, true);
    if (!*value)
        return NULL;
    if (!log_level_parse(value, &l))
        return "unknown logger level";
    log_set_level_all(l);
    return NULL;
}

void page_logging(struct admin_request *rq)
{
    struct str rest = rq->query.n ? rq->query : rq->form;
    const char *wrong = NULL;
    char *key, *value;
    if (rest.n && str_find_char(rest, '&') >= 0) {
        wrong = "invalid number of parameters";
    } else if (rest.n && admin_params_next(&rest, &key, &value)) {
        wrong = set_levels(key, value);
        mem_free(key);
        mem_free(value);
    }
    if (wrong)
        admin_refuse(rq, 400,
                     "error: %s\n\nusage: /logging?<name>=<level> (change single level)\n"
                     "usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n"
                     "usage: /logging?level=<level> (change all levels)\n"
                     "usage: /logging?group=<group_name>:<level> (change group of loggers)\n"
                     "levels: trace debug info warning error critical off \n",
                     wrong);
    list_loggers(&rq->body);
}

void page_reopen_logs(struct admin_request *rq)
{
    log_reopen();
    log_files_reopen();
    say_ok(rq);
}

/* ---- health, counters ---- */

void page_healthcheck_fail(struct admin_request *rq)
{
    atomic_store(&rq->server->healthcheck_failed, true);
    say_ok(rq);
}

void page_healthcheck_ok(struct admin_request *rq)
{
    atomic_store(&rq->server->healthcheck_failed, false);
    say_ok(rq);
}

void page_reset_counters(struct admin_request *rq)
{
    stats_reset_counters();
    say_ok(rq);
}

/* ---- draining ---- */

/* skip_exit: connections are asked to leave, but the listeners go on. The process never ends here. */
void page_drain_listeners(struct admin_request *rq)
{
    bool inbound_only = admin_param_is_set(rq, "inboundonly");
    if (admin_param_is_set(rq, "skip_exit"))
        listener_manager_drain(rq->server->listeners, inbound_only);
    else
        server_drain_listeners(rq->server, admin_param_is_set(rq, "graceful"), inbound_only, false);
    say_ok(rq);
}

void page_quitquitquit(struct admin_request *rq)
{
    rq->then = server_shutdown; /* the answer goes first */
    say_ok(rq);
}
