/* SPDX-License-Identifier: Apache-2.0
 *
 * The streams of a session: found by id through a table of chains (ids grow by two, so the chains
 * are even), kept by age in a list. A stream lives from its first HEADERS to both ends or a reset;
 * closed ones aren't kept, only the last ids of each kind. on_close is told once, and not for those
 * that the owner resets.
 */
#include "http/codec/h2_priv.h"

#include "base/mem.h"

#define BUCKETS_FIRST 16

static __thread struct recycler stream_recycler = {.max_idle = 256,
                                                   .object_bytes = sizeof(struct h2_stream)};

void h2_thread_fini(void)
{
    recycler_drain(&stream_recycler);
}

static struct h2_stream **bucket_of(const struct h2_session *s, uint32_t id)
{
    return &s->buckets[(id >> 1) & (s->bucket_count - 1)];
}

static void link_to_bucket(struct h2_session *s, struct h2_stream *st)
{
    struct h2_stream **bucket = bucket_of(s, st->id);
    st->next_in_bucket = *bucket;
    *bucket = st;
}

/* Their number follows max_concurrent_streams, which the configuration bounds. */
static void grow(struct h2_session *s)
{
    mem_free(s->buckets);
    s->bucket_count = s->bucket_count ? s->bucket_count * 2 : BUCKETS_FIRST;
    s->buckets = mem_zalloc(s->bucket_count * sizeof(*s->buckets));
    for (struct list *n = s->streams.next; n != &s->streams; n = n->next)
        link_to_bucket(s, LIST_ENTRY(n, h2_stream, node));
}

void h2_stream_table_fini(struct h2_session *s)
{
    mem_free(s->buckets);
    s->buckets = NULL;
}

struct h2_stream *h2_stream_new(struct h2_session *s, uint32_t id)
{
    struct h2_stream *st = recycler_get(&stream_recycler);
    memset(st, 0, sizeof(*st));
    if (s->stream_count >= s->bucket_count)
        grow(s);
    if (!id) {
        id = s->next_id;
        s->next_id += 2;
    }
    st->session = s;
    st->id = id;
    st->content_length = -1;
    st->send_window = s->peer.initial_window;
    h2_window_init(&st->window, s->settings_acked ? s->opts.initial_stream_window : H2_DEFAULT_WINDOW);
    list_push_back(&s->streams, &st->node);
    link_to_bucket(s, st);
    list_init(&st->send_node);
    list_init(&st->sent_node);
    s->stream_count++;
    s->counts.streams++;
    return st;
}

struct h2_stream *h2_stream_find(const struct h2_session *s, uint32_t id)
{
    struct h2_stream *st = s->bucket_count ? *bucket_of(s, id) : NULL;
    while (st && st->id != id)
        st = st->next_in_bucket;
    return st;
}

bool h2_stream_is_idle(const struct h2_session *s, uint32_t id)
{
    bool is_client_opened = id & 1;
    if (s->opts.is_server)
        return !is_client_opened || id > s->last_peer_id;
    return !is_client_opened || id >= s->next_id;
}

bool h2_stream_was_ended(const struct h2_session *s, uint32_t id)
{
    if (h2_recent_has(&s->ended, id))
        return true;
    bool all_resets_known = s->resets.count <= H2_RECENT_IDS && !s->goaway_sent;
    return s->opts.is_server && all_resets_known && !h2_recent_has(&s->resets, id);
}

static void unlink_from_bucket(struct h2_session *s, struct h2_stream *st)
{
    struct h2_stream **at = bucket_of(s, st->id);
    while (*at != st)
        at = &(*at)->next_in_bucket;
    *at = st->next_in_bucket;
}

void h2_stream_drop(struct h2_stream *st)
{
    struct h2_session *s = st->session;
    size_t owed = st->unconsumed;
    if (s->held == st) {
        owed += s->held_data.len;
        buf_fini(&s->held_data);
        s->held = NULL;
    }
    if (s->receiving == st)
        s->receiving = NULL;
    s->counts.heads_queued -= st->heads_count;
    unlink_from_bucket(s, st);
    list_remove(&st->node);
    list_remove(&st->send_node);
    list_remove(&st->sent_node);
    s->stream_count--;
    s->opened_count -= st->opened;
    buf_fini(&st->queue);
    recycler_put(&stream_recycler, st);
    if (owed)
        h2_window_consume(s, owed);
}

void h2_stream_close(struct h2_stream *st, uint32_t code, bool remote, const char *details)
{
    struct h2_session *s = st->session;
    if (s->held == st) {
        uint32_t id = st->id;
        h2_data_tell(s, false);
        if (h2_stream_find(s, id) != st)
            return;
    }
    h2_recent_add(st->end_received || st->reset_received ? &s->ended : &s->resets, st->id);
    s->cb->on_close(s->ctx, st, code, remote, details);
    h2_stream_drop(st);
}

/* A request whose HEADERS never went out is nobody's business. */
static void reset_towards_peer(struct h2_stream *st, uint32_t code)
{
    struct h2_session *s = st->session;
    if (!s->opts.is_server && !st->opened)
        return;
    h2_recent_add(&s->resets, st->id);
    h2_put_reset(s, st->id, code);
}

void h2_stream_reset(struct h2_stream *st, uint32_t error_code)
{
    reset_towards_peer(st, error_code);
    h2_stream_drop(st);
}

void h2_stream_abort(struct h2_stream *st, uint32_t code, const char *details)
{
    struct h2_session *s = st->session;
    reset_towards_peer(st, code);
    s->cb->on_close(s->ctx, st, code, false, details);
    h2_stream_drop(st);
}

void h2_stream_end_received(struct h2_session *s, uint32_t id)
{
    struct h2_stream *st = h2_stream_find(s, id);
    if (st && st->end_sent && st->end_received)
        h2_stream_close(st, H2_NO_ERROR, false, NULL);
}

/* A complete response makes the rest of the request worthless (section 8.1), but a tunnel's two
 * directions end one by one. */
void h2_stream_end_was_sent(struct h2_stream *st)
{
    struct h2_session *s = st->session;
    st->end_sent = true;
    if (!st->end_received && (!s->opts.is_server || st->is_connect))
        return;
    if (!st->end_received)
        h2_put_reset(s, st->id, H2_NO_ERROR);
    h2_stream_close(st, H2_NO_ERROR, false, NULL);
}

void *h2_stream_user(const struct h2_stream *st)
{
    return st->user;
}

void h2_stream_set_user(struct h2_stream *st, void *user)
{
    st->user = user;
}

uint32_t h2_stream_id(const struct h2_stream *st)
{
    return st->id;
}
