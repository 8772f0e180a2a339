/* SPDX-License-Identifier: Apache-2.0
 *
 * What the server's files share.
 */
#ifndef XDS_SERVER_PRIV_H
#define XDS_SERVER_PRIV_H

#include "base/list.h"
#include "base/map.h"
#include "xds/server.h"

/* ---- server_set.c ---- */

struct item {
    uint32_t refs;
    bool is_found;  /* the pool's map leads to it */
    bool has_body;  /* false: a version that a client says it has, of bytes that we don't have */
    struct str name, packed; /* behind this struct */
    uint64_t version;
    const char *type;
};
struct xds_set {
    uint32_t refs, count;
    bool is_found;
    struct xds_pool *pool;
    const char *type;
    uint64_t version;
    struct item *items[];
};
struct xds_names {
    uint32_t refs, count;
    bool is_found;
    struct xds_pool *pool;
    uint64_t hash;
    size_t bytes;         /* of all, with the offsets in front */
    uint32_t ends[];      /* where each name's text ends; the texts follow */
};
struct xds_pool {
    struct map *items, *sets, *names, *changes;
    struct list used;     /* changes, the one unused longest first */
    size_t kept_bytes_max;
    struct xds_pool_usage usage;
    struct strbuf scratch;
};

/* The 16 digits in which versions are told. */
#define VERSION_TEXT_BYTES 16
struct str version_write(uint64_t version, char out[VERSION_TEXT_BYTES]);

/* What a client says it has: a set of which resources may have no bytes. */
struct xds_set *set_of_versions(struct xds_pool *pool, const char *type, const struct xds_versioned *known, uint32_t count);
/* All in one; of two with a name the first counts. */
struct xds_set *set_union(struct xds_pool *pool, const char *type, struct xds_set *const *parts, uint32_t count);
const struct item *set_find(const struct xds_set *s, struct str name);
struct item *item_at(const struct xds_set *s, uint32_t index);

/* `base` with some more and some less; the caller's reference. NULL where nothing is left. */
struct xds_names *names_edit(struct xds_pool *pool, const struct xds_names *base, const struct str *add, uint32_t add_count,
                             const struct str *drop, uint32_t drop_count);
struct xds_names *names_union(struct xds_pool *pool, const struct xds_names *a, const struct xds_names *b);
struct xds_names *names_common(struct xds_pool *pool, const struct xds_names *a, const struct xds_names *b);

/* ---- server_change.c ---- */

/* What is asked for of a type. */
struct asked {
    bool is_everything;
    struct xds_names *names; /* by name; NULL: none */
};

/* The way from what a client was sent to what it is to have, encoded. */
struct change {
    uint32_t refs;
    bool is_found;
    struct list used;         /* pool->used */
    uint64_t used_us;
    uint32_t resources, removed_count;
    struct str *removed;      /* text of what the change holds on to */
    struct xds_set *merged;    /* CHANGE_KEEP: what the client has then */
    struct xds_names *updated; /* that the client has in another version; of types with an echo */
    struct buf body;          /* fields of the response: resources, removed_resources */
    struct str flat;          /* in its place where it is small: a buf would take a block */
    struct change_key {
        struct xds_set *before, *now;  /* NULL: none */
        struct xds_names *asked_before, *asked_now, *again;
        uint64_t flags;
    } key;
};
enum change_flags {
    CHANGE_DELTA = 1,
    CHANGE_WHOLE = 2,         /* all there is, whatever was sent before */
    CHANGE_ALL_BEFORE = 4, CHANGE_ALL_NOW = 8, /* everything was, and is, asked for */
    CHANGE_HAS_ECHO = 16,
    CHANGE_NAMESPACED = 32,
    CHANGE_KEEP = 64,         /* what is gone isn't told yet */
};
bool asked_has(const struct asked *asked, struct str name, bool is_namespaced);
/* The caller's reference. */
struct change *change_get(struct xds_pool *pool, const struct change_key *key, const char *type, uint64_t now_us);
void change_unref(struct change **c);
void change_append(const struct change *c, struct buf *out);
size_t change_bytes(const struct change *c);

/* ---- server.c, server_request.c ---- */

struct served {               /* a type on this stream */
    bool is_asked;            /* a request came */
    bool was_named;           /* state of the world: an empty list means nothing from then on */
    bool is_due, must_answer; /* must: even where nothing is new */
    bool is_waiting;
    bool is_foreign;          /* `sent` is what the client said it has, not parts of ours */
    struct asked asked;
    uint32_t passed;          /* responses of others sent while this waited for them */
    uint64_t asked_hash;      /* state of the world: of the names as the last request listed them */
    struct xds_names *again;  /* to be sent whether or not they are new */
    struct asked sent_asked;
    struct xds_set *sent[XDS_PARTS_MAX];
    uint32_t sent_count;
    struct xds_type_state state;
    struct strbuf nack;
};
struct xds_server {
    struct xds_server_opts opts;
    const struct xds_server_ops *ops;
    void *user;
    bool said_node, is_returning;
    uint64_t nonce;           /* the last one given */
    struct served types[];
};

#define NONCE_TEXT_BYTES 20
void served_forget_sent(struct served *t);

#endif
