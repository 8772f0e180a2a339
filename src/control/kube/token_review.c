/* SPDX-License-Identifier: Apache-2.0
 *
 * One POST a review. The token is in the request alone, whose memory the client wipes; answers, which repeat it, are never logged.
 */
#include "control/kube/token_review.h"

#include "base/check.h"
#include "base/mem.h"
#include "proto/json.h"

#define ANSWER_BYTES_MAX ((size_t)256 << 10)
#define TIMEOUT_MS 5000u
#define TRIES 3u
#define TEXTS_MAX 64u /* groups, audiences */

struct kube_reviewer {
    struct token_reviewer reviewer;
    struct kube_client *client;
    struct str cluster_id;
    uint32_t count;
};
struct review {
    struct kube_reviewer *reviewer;
    struct kube_call *call;
    token_review_fn fn;
    void *ctx;
};

/* ---- the answer ---- */

/* The texts of a list; those past `max` aren't looked at: who needs one of them is refused. */
static uint32_t texts_of(const struct doc_node *list, struct str *out, uint32_t max)
{
    uint32_t n = 0;
    for (const struct doc_node *it = list && list->kind == DOC_LIST ? list->first : NULL; it && n < max; it = it->next)
        if (it->kind == DOC_STRING)
            out[n++] = it->text;
    return n;
}

static struct str first_of(const struct doc_node *extra, struct str key)
{
    struct str text = STR("");
    texts_of(doc_member(extra, key), &text, 1);
    return text;
}

static struct str or_empty(struct str s)
{
    return s.p ? s : STR("");
}

static void tell(struct review *w, const struct doc_node *status)
{
    const struct doc_node *user = doc_member(status, STR("user")), *extra = doc_member(user, STR("extra"));
    const struct doc_node *authenticated = doc_member(status, STR("authenticated"));
    struct str groups[TEXTS_MAX], audiences[TEXTS_MAX];
    struct token_review r = {
        .is_authenticated = authenticated && authenticated->kind == DOC_BOOL && authenticated->flag,
        .error = or_empty(doc_text(status, STR("error"))), .username = or_empty(doc_text(user, STR("username"))),
        .groups = groups, .group_count = texts_of(doc_member(user, STR("groups")), groups, TEXTS_MAX),
        .audiences = audiences, .audience_count = texts_of(doc_member(status, STR("audiences")), audiences, TEXTS_MAX),
        .pod_name = first_of(extra, STR("authentication.kubernetes.io/pod-name")),
        .pod_uid = first_of(extra, STR("authentication.kubernetes.io/pod-uid")),
    };
    w->fn(w->ctx, &r, NULL);
}

static void on_answer(void *user, const struct kube_answer *a)
{
    struct review *w = user;
    struct proto_arena *pa = proto_arena_new(0);
    struct err_list faults = {0};
    struct err err = {0};
    bool is_answer = !a->failure && a->status / 100 == 2;
    const struct doc_node *status = is_answer ? doc_member(json_read(pa, a->body, NULL, &faults), STR("status")) : NULL;
    w->call = NULL;
    w->reviewer->count--;
    if (status && status->kind == DOC_MAP)
        tell(w, status);
    else {
        if (is_answer)
            err_set(&err, ERR_INVALID, "the API server's answer is no TokenReview");
        else
            kube_answer_fault(a, &err);
        w->fn(w->ctx, NULL, &err);
    }
    mem_free(w);
    err_list_fini(&faults);
    proto_arena_free(&pa);
}

/* ---- the question ---- */

static void add_text(struct strbuf *out, struct str text)
{
    strbuf_addc(out, '"');
    strbuf_add_json(out, text);
    strbuf_addc(out, '"');
}

static void *begin(void *user, struct str token, const struct str *audiences, uint32_t audience_count, struct str cluster_id,
                   token_review_fn fn, void *ctx, struct err *err)
{
    struct kube_reviewer *r = user;
    struct strbuf body = {0};
    if (cluster_id.n && !str_eq(cluster_id, r->cluster_id)) {
        err_set(err, ERR_NOT_FOUND, "there is no cluster \"%.*s\"", STR_ARG(cluster_id));
        return NULL;
    }
    if (r->count >= KUBE_REVIEWS_MAX) {
        err_set(err, ERR_LIMIT, "too many tokens are being reviewed");
        return NULL;
    }
    struct review *w = NEW(review);
    *w = (struct review){.reviewer = r, .fn = fn, .ctx = ctx};
    strbuf_reserve(&body, token.n * 6 + 1024); /* growing would leave copies of the token behind */
    strbuf_addz(&body, "{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenReview\",\"spec\":{\"token\":");
    add_text(&body, token);
    strbuf_addz(&body, ",\"audiences\":[");
    for (uint32_t i = 0; i < audience_count; i++) {
        strbuf_addz(&body, i ? "," : "");
        add_text(&body, audiences[i]);
    }
    strbuf_addz(&body, "]}}");
    struct kube_request q = {.method = "POST", .path = STR("/apis/authentication.k8s.io/v1/tokenreviews"), .content_type = STR("application/json"),
                             .body = strbuf_str(&body), .limit_bytes = ANSWER_BYTES_MAX, .timeout_ms = TIMEOUT_MS, .tries = TRIES};
    w->call = kube_call(r->client, &q, on_answer, w);
    r->count++;
    explicit_bzero(body.p, body.n);
    strbuf_fini(&body);
    return w;
}

static void cancel(void *user, void *review)
{
    struct kube_reviewer *r = user;
    struct review *w = review;
    kube_cancel(&w->call);
    r->count--;
    mem_free(w);
}

/* ---- life ---- */

struct kube_reviewer *kube_reviewer_new(struct kube_client *keep_client, struct str cluster_id)
{
    struct kube_reviewer *r = NEW(kube_reviewer);
    r->reviewer = (struct token_reviewer){.user = r, .begin = begin, .cancel = cancel};
    r->client = keep_client;
    r->cluster_id = str_dup(cluster_id);
    return r;
}

void kube_reviewer_free(struct kube_reviewer **p)
{
    struct kube_reviewer *r = *p;
    *p = NULL;
    if (!r)
        return;
    CHECK(!r->count);
    str_free(&r->cluster_id);
    mem_free(r);
}

const struct token_reviewer *kube_reviewer(const struct kube_reviewer *r)
{
    return &r->reviewer;
}
