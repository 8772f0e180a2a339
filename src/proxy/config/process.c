/* SPDX-License-Identifier: Apache-2.0
 *
 * What a bootstrap says of the process itself: its log's format, when statistics are made, extensions at start-up. Main thread.
 */
#include "base/log.h"
#include "envoy/extensions/bootstrap/internal_listener/v3/internal_listener.pb-c.h"
#include "proto/json.h"
#include "proxy/config/config_priv.h"

#define FORMAT(x) ENVOY__CONFIG__BOOTSTRAP__V3__BOOTSTRAP__APPLICATION_LOG_CONFIG__LOG_FORMAT__LOG_FORMAT_##x
#define INTERNAL envoy__extensions__bootstrap__internal_listener__v3__internal_listener__descriptor

/* A JSON format is its object as text: spdlog's operators stand in its values ("%j" is the message, escaped). */
static void read_log_format(struct config_reader *cr, const Envoy__Config__Bootstrap__V3__Bootstrap__ApplicationLogConfig__LogFormat *m)
{
    struct strbuf text = {0};
    struct err err = {0};
    switch (m->log_format_case) {
    case FORMAT(TEXT_FORMAT):
        strbuf_adds(&text, TEXT(m, text_format));
        break;
    case FORMAT(JSON_FORMAT):
        json_encode(&GET(m, json_format)->base, 0, &text);
        break;
    default:
        FAULT("log_format", "one of json_format and text_format must be set");
    }
    if (text.n && log_check_format(text.p, &err) < 0)
        cfg_fault_err(cr, m->log_format_case == FORMAT(TEXT_FORMAT) ? "text_format" : "json_format", &err);
    cr->out->log_format = arena_str(&cr->out->arena, strbuf_str(&text));
    strbuf_fini(&text);
}

/* Internal listeners themselves are refused where they stand; that they may be is nothing to do here. */
static void read_extension(struct config_reader *cr, const Envoy__Config__Core__V3__TypedExtensionConfig *m)
{
    (void)TEXT(m, name);
    ProtobufCMessage *msg = proto_any_read_content(&cr->r, "typed_config", GET(m, typed_config));
    if (msg && proto_is(msg, &INTERNAL))
        proto_read_whole(&cr->r, msg);
    else if (msg)
        UNSUPPORTED("typed_config", msg->descriptor->name);
}

void cfg_process(struct config_reader *cr, const pb_bootstrap *m)
{
    __auto_type log = GET(m, application_log_config);
    if (log && GET(log, log_format))
        IN("application_log_config.log_format")
            read_log_format(cr, log->log_format);
    __auto_type deferred = GET(m, deferred_stat_options);
    if (deferred) /* blocks of statistics are made when they first move, whatever it says */
        (void)GET(deferred, enable_deferred_creation_stats);
    uint32_t n = LEN(m, bootstrap_extensions);
    for (uint32_t i = 0; i < n; i++)
        IN("bootstrap_extensions[%u]", i)
            read_extension(cr, m->bootstrap_extensions[i]);
}
