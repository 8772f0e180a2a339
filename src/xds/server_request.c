/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests: what is asked for, and answers to responses (Envoy: "xDS REST and gRPC protocol").
 *
 * State of the world: requests repeat all the names; delta: they tell of changes. Either way requests come in the order in which they
 * were written, so that what they ask for counts whatever their nonce is; they are an answer only with that of the last response. What a
 * client gives up it forgets, so it is taken off what it was sent at once: asked for again it is sent again.
 */
#include "base/mem.h"
#include "xds/server_priv.h"

#define HASH_SEED 0x61736bull

/* ---- what is asked for ---- */

static bool is_star(struct str name)
{
    return str_eq(name, STR("*"));
}

/* Moves "*" out of the way; whether it was there. */
static bool take_star(struct str *names, uint32_t *count)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < *count; i++)
        if (!is_star(names[i]))
            names[n++] = names[i];
    bool had = n < *count;
    *count = n;
    return had;
}

/* Of what it had from a stream before. */
static void forget_foreign(struct xds_server *s, struct served *t)
{
    const struct xds_served_type *desc = &s->opts.keep_types[t - s->types];
    struct xds_set_builder *b = xds_set_begin(s->opts.keep_pool, desc->name, NULL);
    for (uint32_t i = 0; i < xds_set_count(t->sent[0]); i++)
        if (asked_has(&t->asked, item_at(t->sent[0], i)->name, desc->is_namespaced))
            xds_set_copy(b, t->sent[0], item_at(t->sent[0], i)->name);
    xds_set_unref(&t->sent[0]);
    t->sent[0] = xds_set_end(&b);
}

/* The client keeps of what it was sent only what it still asks for. */
static void forget_given_up(struct xds_server *s, struct served *t)
{
    struct xds_names *before = t->sent_asked.names;
    if (t->asked.is_everything)
        return;
    if (t->is_foreign)
        forget_foreign(s, t);
    else
        t->sent_asked.is_everything = false;
    t->sent_asked.names = names_common(s->opts.keep_pool, before, t->asked.names);
    xds_names_unref(&before);
}

static int check_limits(const struct xds_server *s, const struct xds_names *names, struct err *err)
{
    if (xds_names_count(names) > s->opts.names_max)
        return err_set(err, ERR_LIMIT, "%u resources of one type are asked for, more than %u", xds_names_count(names), s->opts.names_max);
    if (names && names->bytes > s->opts.names_bytes_max)
        return err_set(err, ERR_LIMIT, "the names of resources of one type take %zu bytes, more than %zu", names->bytes, s->opts.names_bytes_max);
    return 0;
}

static int ask(struct xds_server *s, struct served *t, bool is_everything, struct xds_names *take_names, struct err *err)
{
    bool is_same = t->asked.is_everything == is_everything && t->asked.names == take_names;
    xds_names_unref(&t->asked.names);
    t->asked = (struct asked){is_everything, take_names};
    if (!is_same) {
        forget_given_up(s, t);
        t->is_due = true;
    }
    return check_limits(s, take_names, err);
}

static void ask_again(struct xds_server *s, struct served *t, const struct str *names, uint32_t count)
{
    struct xds_names *before = t->again;
    if (!count)
        return;
    t->again = names_edit(s->opts.keep_pool, before, names, count, NULL, 0);
    t->is_due = true;
    xds_names_unref(&before);
}

/* ---- answers ---- */

static void take_answer(struct xds_server *s, struct served *t, const struct xds_request *r, uint64_t now_us)
{
    struct xds_type_state *state = &t->state;
    struct xds_answer a = {.is_ack = !r->has_error, .nonce = state->sent_nonce, .message = r->error_message, .code = r->error_code, .sent_us = state->sent_us};
    t->is_waiting = false;
    state->answered_us = now_us;
    strbuf_reset(&t->nack);
    if (a.is_ack) {
        state->acked_nonce = state->sent_nonce;
        state->acked_version = state->sent_version;
    } else {
        state->nacked_nonce = state->sent_nonce;
        state->nack_code = r->error_code;
        state->nack_count++;
        strbuf_adds(&t->nack, r->error_message);
    }
    if (s->ops->on_answer)
        s->ops->on_answer(s->user, (uint32_t)(t - s->types), &a);
}

static bool is_last_nonce(const struct served *t, struct str nonce)
{
    char text[NONCE_TEXT_BYTES];
    return t->state.sent_nonce && str_eq(nonce, str_make(text, u64_format(t->state.sent_nonce, text)));
}

/* ---- state of the world ---- */

/* Clients repeat their lists with each answer. */
static bool is_same_list(struct served *t, const struct xds_request *r)
{
    uint64_t h = HASH_SEED + r->name_count;
    for (uint32_t i = 0; i < r->name_count; i++)
        h = str_hash(r->names[i], h);
    bool is_same = t->is_asked && t->asked_hash == h;
    t->asked_hash = h;
    return is_same;
}

static bool read_everything(const struct xds_server *s, const struct served *t, struct xds_request *r)
{
    bool is_legacy = !r->name_count && !t->was_named && !s->opts.keep_types[t - s->types].is_named;
    return take_star(r->names, &r->name_count) || is_legacy;
}

static int feed_sotw(struct xds_server *s, struct served *t, struct xds_request *r, uint64_t now_us, struct err *err)
{
    bool is_first = !t->is_asked;
    if (!is_first && t->is_waiting && is_last_nonce(t, r->nonce))
        take_answer(s, t, r, now_us);
    if (is_same_list(t, r))
        return 0;
    t->is_asked = true;
    t->was_named |= r->name_count > 0;
    bool is_everything = read_everything(s, t, r);
    if (is_first && is_everything)
        t->is_due = t->must_answer = true;
    return ask(s, t, is_everything, xds_names_new(s->opts.keep_pool, r->names, r->name_count), err);
}

/* ---- delta ---- */

/* What it has from a stream before. */
static void take_initial(struct xds_server *s, struct served *t, const struct xds_request *r)
{
    if (!r->initial_count)
        return;
    t->sent[0] = set_of_versions(s->opts.keep_pool, s->opts.keep_types[t - s->types].name, r->initial_versions, r->initial_count);
    t->sent_count = 1;
    t->sent_asked.is_everything = true;
    t->is_foreign = true;
}

/* Names that were asked for before: the client wants them sent whether or not it has them. */
static void take_repeated(struct xds_server *s, struct served *t, const struct xds_request *r)
{
    uint32_t n = 0;
    struct str *names = mem_alloc((r->name_count + 1) * sizeof *names);
    for (uint32_t i = 0; i < r->name_count; i++)
        if (xds_names_has(t->asked.names, r->names[i]))
            names[n++] = r->names[i];
    ask_again(s, t, names, n);
    mem_free(names);
}

static int feed_delta(struct xds_server *s, struct served *t, struct xds_request *r, uint64_t now_us, struct err *err)
{
    bool is_first = !t->is_asked, is_legacy = is_first && !r->name_count && !s->opts.keep_types[t - s->types].is_named;
    if (t->is_waiting && is_last_nonce(t, r->nonce))
        take_answer(s, t, r, now_us);
    t->is_asked = true;
    bool says_star = take_star(r->names, &r->name_count), drops_star = take_star(r->unsubscribed, &r->unsubscribed_count);
    bool is_everything = (t->asked.is_everything || says_star || is_legacy) && !drops_star;
    if (is_everything && !t->asked.is_everything)
        t->is_due = t->must_answer = true;
    if (!r->name_count && !r->unsubscribed_count && is_everything == t->asked.is_everything)
        return 0;
    if (is_first)
        take_initial(s, t, r);
    else
        take_repeated(s, t, r);
    if (is_everything) /* it may have them by the wildcard as well, and can't tell */
        ask_again(s, t, r->unsubscribed, r->unsubscribed_count);
    struct xds_names *names = names_edit(s->opts.keep_pool, t->asked.names, r->names, r->name_count, r->unsubscribed, r->unsubscribed_count);
    return ask(s, t, is_everything, names, err);
}

/* ---- a message ---- */

static struct served *find_type(struct xds_server *s, struct str url)
{
    for (uint32_t i = 0; i < s->opts.type_count; i++) {
        struct str name = str_from(s->opts.keep_types[i].name);
        size_t head = url.n - name.n;
        if (str_has_suffix(url, name) && (head == 0 || url.p[head - 1] == '/'))
            return &s->types[i];
    }
    return NULL;
}

static int feed(struct xds_server *s, struct xds_request *r, uint64_t now_us, struct err *err)
{
    if (!s->said_node && !r->has_node)
        return err_set(err, ERR_INVALID, "the first request of a stream must have a node");
    if (!s->said_node) {
        int rc = s->ops->on_node(s->user, r->node, err);
        if (rc)
            return rc;
    }
    s->said_node = true;
    struct served *t = find_type(s, r->type_url);
    s->is_returning |= t && !t->is_asked && (r->version.n || r->initial_count);
    if (t)
        return (s->opts.is_delta ? feed_delta : feed_sotw)(s, t, r, now_us, err);
    if (s->ops->on_other)
        s->ops->on_other(s->user, r);
    return 0;
}

int xds_server_feed(struct xds_server *s, struct str message, uint64_t now_us, struct err *err)
{
    struct arena a;
    struct xds_request r;
    arena_init(&a, 0);
    int rc = xds_request_read(&a, s->opts.is_delta, message, &r, err);
    if (!rc)
        rc = feed(s, &r, now_us, err);
    arena_fini(&a);
    return rc;
}
