/* SPDX-License-Identifier: Apache-2.0
 *
 * The chain. A call holds a copy of its request in an arena, asks one authenticator after the other, gathers why each refused,
 * and tells its owner at a turn's end, so that nobody is called back from inside his own question. The arena, which holds the
 * credential, is wiped with it. One loop's thread.
 */
#include "control/ca/auth.h"

#include "base/check.h"
#include "base/mem.h"
#include "pki/spiffe.h"

#define AUTHENTICATORS_MAX 8u
#define NOBODY "there is no authenticator"
#define CALL_BYTES ((size_t)128 << 10)

struct auth_chain {
    struct loop *loop;
    struct authenticator *items[AUTHENTICATORS_MAX];
    uint32_t count, under_way;
};

struct auth_call {
    struct auth_chain *chain;
    struct auth_request request;
    struct arena arena;
    struct auth_caller caller;
    struct strbuf why;
    struct turn_task task;
    struct deferred deferred;
    uint32_t at;        /* of the chain: who is asked */
    bool is_pending, is_taken;
    void *state;        /* of who is asked */
    auth_fn fn;
    void *user;
};

/* ---- the chain ---- */

struct auth_chain *auth_chain_new(struct loop *loop)
{
    struct auth_chain *c = NEW(auth_chain);
    c->loop = loop;
    return c;
}

void auth_chain_add(struct auth_chain *c, struct authenticator *take_a)
{
    CHECK(c->count < AUTHENTICATORS_MAX);
    if (take_a)
        c->items[c->count++] = take_a;
}

void auth_chain_free(struct auth_chain **p)
{
    struct auth_chain *c = *p;
    *p = NULL;
    if (!c)
        return;
    DCHECK(c->under_way == 0);
    for (uint32_t i = 0; i < c->count; i++)
        c->items[i]->ops->free(c->items[i]);
    mem_free(c);
}

/* ---- a call ---- */

static void destroy(struct deferred *d)
{
    struct auth_call *c = CONTAINER_OF(d, auth_call, deferred);
    if (c->request.authorization.n)
        explicit_bzero((char *)(uintptr_t)c->request.authorization.p, c->request.authorization.n);
    strbuf_fini(&c->why);
    arena_fini(&c->arena);
    mem_free(c);
}

static void end(struct auth_call *c)
{
    c->chain->under_way--;
    loop_defer(c->chain->loop, &c->deferred, destroy);
}

static void tell(struct turn_task *t)
{
    struct auth_call *c = CONTAINER_OF(t, auth_call, task);
    end(c);
    c->fn(c->user, c->is_taken ? &c->caller : NULL, strbuf_str(&c->why));
}

static void note_refusal(struct auth_call *c, const struct err *why)
{
    char text[ERR_MESSAGE_BYTES + ERR_PATH_BYTES];
    const struct authenticator *a = c->chain->items[c->at];
    strbuf_addf(&c->why, "%sAuthenticator %s: %s", c->why.n ? "; " : "", a->ops->name, err_format(why, text, sizeof text));
}

static enum auth_step ask_one(struct auth_call *c)
{
    struct authenticator *a = c->chain->items[c->at];
    struct err why = {0};
    enum auth_step step = a->ops->begin(a, c, &c->request, &c->caller, &why);
    if (step == AUTH_TAKEN)
        c->caller.source = str_from(a->ops->name);
    if (step == AUTH_REFUSED)
        note_refusal(c, &why);
    return step;
}

static void proceed(struct auth_call *c)
{
    for (; c->at < c->chain->count && !c->is_taken; c->at++) {
        enum auth_step step = ask_one(c);
        c->is_pending = step == AUTH_PENDING;
        c->is_taken = step == AUTH_TAKEN;
        if (c->is_pending)
            return;
    }
    if (!c->chain->count)
        strbuf_addz(&c->why, NOBODY);
    loop_at_turn_end(c->chain->loop, &c->task);
}

static struct auth_caller copy_of(struct arena *a, const struct auth_caller *from)
{
    return (struct auth_caller){
        .identity = arena_str(a, from->identity), .namespace_name = arena_str(a, from->namespace_name),
        .service_account = arena_str(a, from->service_account), .pod_name = arena_str(a, from->pod_name),
        .pod_uid = arena_str(a, from->pod_uid), .source = from->source,
    };
}

void auth_call_done(struct auth_call *c, const struct auth_caller *caller, const struct err *why)
{
    DCHECK(c->is_pending);
    c->is_pending = false;
    c->state = NULL;
    if (caller && !c->arena.overflowed) {
        c->caller = copy_of(&c->arena, caller);
        c->caller.source = str_from(c->chain->items[c->at]->ops->name);
        c->is_taken = !c->arena.overflowed;
    }
    if (!c->is_taken)
        note_refusal(c, why);
    c->at++;
    proceed(c);
}

/* False: more than a call may hold; what a peer sends was bounded before, so that is his fault. */
static bool copy_request(struct auth_call *c, const struct auth_request *q)
{
    struct str *uris = arena_alloc(&c->arena, (q->peer_uri_count + 1) * sizeof *uris);
    for (uint32_t i = 0; uris && i < q->peer_uri_count; i++)
        uris[i] = arena_str(&c->arena, q->peer_uris[i]);
    c->request = (struct auth_request){
        .is_tls = q->is_tls, .peer_is_validated = q->peer_is_validated, .peer_uris = uris, .peer_uri_count = q->peer_uri_count,
        .authorization = arena_str(&c->arena, q->authorization), .cluster_id = arena_str(&c->arena, q->cluster_id),
        .peer = arena_str(&c->arena, q->peer),
    };
    return !c->arena.overflowed;
}

static struct auth_call *call_new(struct auth_chain *chain, const struct auth_request *q)
{
    struct auth_call *c = NEW(auth_call);
    c->chain = chain;
    c->task.run = tell;
    arena_init(&c->arena, CALL_BYTES);
    chain->under_way++;
    if (!copy_request(c, q)) {
        strbuf_addf(&c->why, "the credentials have more than %zu bytes", CALL_BYTES);
        c->at = chain->count;
    }
    return c;
}

struct auth_call *auth_ask(struct auth_chain *chain, const struct auth_request *q, auth_fn fn, void *user)
{
    struct auth_call *c = call_new(chain, q);
    c->fn = fn;
    c->user = user;
    proceed(c);
    return c;
}

enum auth_step auth_try(struct auth_chain *chain, const struct auth_request *q, struct arena *a, struct auth_caller *out, struct strbuf *why)
{
    struct auth_call *c = call_new(chain, q);
    enum auth_step step = AUTH_REFUSED;
    for (; step == AUTH_REFUSED && c->at < chain->count; c->at++)
        step = chain->items[c->at]->ops->cancel ? AUTH_PENDING : ask_one(c);
    if (step == AUTH_TAKEN)
        *out = copy_of(a, &c->caller);
    if (!chain->count)
        strbuf_addz(&c->why, NOBODY);
    strbuf_adds(why, strbuf_str(&c->why));
    end(c);
    return step;
}

void auth_cancel(struct auth_call **p)
{
    struct auth_call *c = *p;
    *p = NULL;
    if (!c)
        return;
    if (c->is_pending)
        c->chain->items[c->at]->ops->cancel(c->chain->items[c->at], c);
    else
        turn_task_cancel(&c->task);
    end(c);
}

/* ---- for authenticators ---- */

struct arena *auth_call_arena(struct auth_call *c)
{
    return &c->arena;
}

void auth_call_set_state(struct auth_call *c, void *state)
{
    c->state = state;
}

void *auth_call_state(const struct auth_call *c)
{
    return c->state;
}

int auth_bearer(const struct auth_request *q, struct str *token, struct err *why)
{
    static const struct str schemes[] = {{"Bearer ", 7}, {"Istio ", 6}};
    if (!q->authorization.n)
        return err_set(why, ERR_NOT_FOUND, "no HTTP authorization header exists");
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        if (str_has_prefix_nocase(q->authorization, schemes[i])) {
            *token = str_trim(str_make(q->authorization.p + schemes[i].n, q->authorization.n - schemes[i].n));
            if (token->n)
                return 0;
        }
    return err_set(why, ERR_NOT_FOUND, "no bearer token exists in HTTP authorization header");
}

int auth_caller_of(struct arena *a, struct str trust_domain, struct str ns, struct str sa, struct auth_caller *out, struct err *why)
{
    struct spiffe_id id;
    struct spiffe_workload w;
    struct str text = arena_printf(a, "spiffe://%.*s/ns/%.*s/sa/%.*s", STR_ARG(trust_domain), STR_ARG(ns), STR_ARG(sa));
    int rc = spiffe_id_parse(text, &id, why);
    if (rc)
        return rc;
    if (!spiffe_id_workload(&id, &w) || !str_eq(w.namespace_name, ns))
        return err_set(why, ERR_INVALID, "'%.*s' and '%.*s' are no namespace and service account", STR_ARG(ns), STR_ARG(sa));
    *out = (struct auth_caller){.identity = text, .namespace_name = w.namespace_name, .service_account = w.service_account};
    return 0;
}

bool auth_account_of(struct str subject, struct str *ns, struct str *sa)
{
    static const struct str start = STR("system:serviceaccount:");
    if (!str_has_prefix(subject, start))
        return false;
    *ns = str_split(str_make(subject.p + start.n, subject.n - start.n), ':', sa);
    return ns->n && sa->n && str_find_char(*sa, ':') < 0;
}
