/* SPDX-License-Identifier: Apache-2.0
 *
 * What the client's files share.
 */
#ifndef XDS_CLIENT_PRIV_H
#define XDS_CLIENT_PRIV_H

#include "base/list.h"
#include "base/map.h"
#include "xds/client.h"

#define ERROR_DETAIL_BYTES 4096 /* of a NACK's message; more may be refused as headers are */
#define STATUS_INTERNAL 13      /* the code of a NACK, as Envoy's */

/* Versions of resources: one response mostly gives the same to all of its resources. */
struct version {
    uint32_t refs, n;
    char text[];
};
struct version *version_ref(struct version *v);
void version_unref(struct version **v);
struct version *version_new(struct str text);
struct str version_text(const struct version *v); /* "" for NULL */

/* One name of a type: asked for, or known because the server sent it. */
struct name {
    struct list node;        /* type->names */
    struct list due;         /* type->due: the next request (delta) says so; of itself: it doesn't */
    struct list ttl;         /* type->mortals */
    struct version *version; /* delta: what we have; NULL: nothing */
    uint64_t expires_us;     /* 0: never */
    bool is_wanted;
    uint32_t n;
    char text[];
};
struct answer {              /* to a response, due */
    struct list node;
    struct str nonce, error; /* error.p NULL: an ACK */
};
struct type {
    const struct xds_type *desc;
    struct list ready;       /* client->ready; of itself: nothing is due */
    struct list names;       /* in the order in which they came */
    struct map *by_name;
    struct list due;         /* names (delta) */
    struct list mortals;     /* names with a time to live */
    struct list answers;
    struct strbuf version, nonce;
    uint32_t wanted_count, held;
    bool is_first;           /* of this stream */
    bool is_wildcard, said_wildcard;
    bool was_named;          /* a name has been asked for since the start: a wildcard is said as "*" from then on */
    bool is_due;             /* a request, whether or not an answer is */
};
struct report {            /* xds_client_report */
    uint32_t type, after;
    bool is_set, is_due;
    struct str error;      /* owned */
};
struct xds_client {
    struct xds_client_opts opts;
    const struct xds_client_ops *ops;
    void *user;
    struct type *types;
    struct list ready;       /* types, the one due longest first */
    struct report report;
    struct strbuf control_plane;
    bool is_connected, said_node;
};

struct name *name_find(const struct type *t, struct str text);
struct name *name_get(struct type *t, struct str text); /* made where there is none */
void name_forget(struct type *t, struct name *n);       /* freed */
void name_set_ttl(struct type *t, struct name *n, uint64_t expires_us);
void type_set_due(struct xds_client *c, struct type *t);
struct str type_url_of(const struct type *t, struct arena *a);

void sotw_request(struct xds_client *c, struct type *t, struct arena *a, struct xds_request *r);
void delta_request(struct xds_client *c, struct type *t, struct arena *a, struct xds_request *r);
/* After on_update, of a response that was read; `before` counts the faults that others had. */
void sotw_settle(struct type *t, const struct xds_response *r, uint64_t now_us, bool is_taken);
void delta_settle(struct type *t, const struct xds_response *r, uint64_t now_us, const struct err_list *faults, size_t before);
/* Adds the faults of the response as a whole. */
void sotw_check(struct type *t, struct xds_response *r, struct err_list *faults);
void delta_check(struct type *t, const struct xds_response *r, struct err_list *faults);
bool type_wants(const struct type *t, const struct xds_resource *r); /* delta: by name, alias, or the wildcard */
/* Nothing changed: the server says that what it sent lives on. */
bool is_heartbeat(const struct xds_client *c, const struct type *t, const struct xds_resource *r, struct str version);

#endif
