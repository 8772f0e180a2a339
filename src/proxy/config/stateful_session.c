/* SPDX-License-Identifier: Apache-2.0
 *
 * Session persistence: cookie and header sessions; envelopes around a server's own session are refused by name, as anything
 * else is that isn't in the table. Main thread.
 */
#include "proxy/filter/stateful_session.h"

#include "proxy/config/config_priv.h"

#define OVERRIDE(x) ENVOY__EXTENSIONS__FILTERS__HTTP__STATEFUL_SESSION__V3__STATEFUL_SESSION_PER_ROUTE__OVERRIDE_##x

static void free_config(void *config)
{
    struct session_config *c = config;
    stat_scope_unref(&c->stats);
}

int cfg_session_cookie(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_session_cookie *m = (const pb_session_cookie *)msg;
    struct cfg_session *to = out;
    struct session_config *c = to->config;
    const pb_cookie *cookie = GET(m, cookie);
    c->is_cookie = true;
    if (!cookie)
        return FAULT("cookie", "must be set");
    IN("cookie") {
        c->name = arena_str(to->arena, TEXT(cookie, name));
        c->path = arena_str(to->arena, TEXT(cookie, path));
        c->ttl_s = proto_ms_or(GET(cookie, ttl), 0) / 1000;
        c->attribute_count = LEN(cookie, attributes);
        c->attributes = ARENA_ARRAY(to->arena, struct session_attribute, c->attribute_count);
        for (uint32_t i = 0; i < c->attribute_count; i++)
            c->attributes[i] = (struct session_attribute){arena_str(to->arena, TEXT(cookie->attributes[i], name)),
                                                          arena_str(to->arena, TEXT(cookie->attributes[i], value))};
        if (!c->name.n)
            FAULT("name", "must be set");
    }
    return 0;
}

int cfg_session_header(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_session_header *m = (const pb_session_header *)msg;
    struct cfg_session *to = out;
    to->config->name = cfg_lower(to->arena, TEXT(m, name));
    return to->config->name.n ? 0 : FAULT("name", "must be set");
}

/* Without a session there is nothing to do, as with Envoy. */
static void read_session(struct config_reader *cr, const pb_stateful_session *m, struct arena *a, struct session_config *c)
{
    ProtobufCMessage *msg = NULL;
    const pb_typed_extension *state = GET(m, session_state);
    struct cfg_session to = {c, a};
    c->strict = GET(m, strict);
    c->disabled = !state;
    c->stat_prefix = arena_str(a, TEXT(m, stat_prefix));
    if (!state)
        return;
    IN("session_state") {
        const struct extension *ext = cfg_extension(cr, EXT_SESSION_STATE, "typed_config", TEXT(state, name), GET(state, typed_config), &msg);
        if (ext)
            IN("typed_config")
                ext->read(cr, msg, &to);
    }
}

int cfg_stateful_session(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_stateful_session *m = (const pb_stateful_session *)msg;
    struct cfg_http_filter *f = out;
    struct session_config *c = arena_zalloc(f->arena, sizeof *c);
    read_session(cr, m, f->arena, c);
    f->spec->config = c;
    f->spec->free_config = free_config;
    return 0;
}

int cfg_stateful_session_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_stateful_session_route *m = (const pb_stateful_session_route *)msg;
    struct cfg_route_filter *f = out;
    struct session_config *c = arena_zalloc(f->arena, sizeof *c);
    if (m->override_case == OVERRIDE(DISABLED))
        c->disabled = GET(m, disabled);
    else if (GET(m, stateful_session))
        IN("stateful_session")
            read_session(cr, m->stateful_session, f->arena, c);
    f->override->config = c;
    f->override->free_config = free_config;
    f->override->link = stateful_session_link;
    return 0;
}
