/* SPDX-License-Identifier: Apache-2.0
 *
 * A loop of its own a question: it turns until the answer is there or the time is over. Nothing is asked twice.
 */
#include "cli/ask.h"

#include "base/arena.h"
#include "http/fetch.h"
#include "io/conn.h"

#include <stdio.h>

#define SAID_BYTES_MAX 200 /* of an answer that isn't what was asked for */

struct answer {
    struct loop *loop;
    const char *failure;
    unsigned status;
    struct strbuf body;
};

static void on_answer(void *user, const struct fetch_answer *a)
{
    struct answer *to = user;
    to->failure = a->failure;
    to->status = a->status;
    if (a->body.n)
        strbuf_adds(&to->body, a->body);
    loop_stop(to->loop);
}

static void request(struct headers *h, const char *address, const char *path, struct str body)
{
    char length[20];
    headers_add_id_ref(h, HDR_METHOD, body.n ? STR("POST") : STR("GET"));
    headers_add_id_ref(h, HDR_SCHEME, STR("http"));
    headers_add_id_ref(h, HDR_AUTHORITY, str_from(address));
    headers_add_id_ref(h, HDR_PATH, str_from(path));
    headers_add_ref(h, STR("user-agent"), STR("weft/" WEFT_VERSION));
    headers_add_ref(h, STR("accept"), STR("application/json"));
    if (!body.n)
        return;
    headers_add_ref(h, STR("content-type"), STR("application/json"));
    headers_add(h, STR("content-length"), str_make(length, u64_format(body.n, length)));
}

static int exchange(const char *address, const char *path, struct str body, struct answer *out, struct err *err)
{
    struct addr to = {0};
    struct arena arena;
    struct headers h;
    if (addr_from_ip_port(&to, str_from(address), err) < 0)
        return err->code;
    out->loop = loop_new("cli", err);
    if (!out->loop)
        return err->code;
    arena_init(&arena, 0);
    headers_init(&h, &arena);
    request(&h, address, path, body);
    const struct fetch_opts o = {.to = &to, .request = &h, .body = body, .timeout_ms = ASK_TIMEOUT_MS, .limit_bytes = ASK_BYTES_MAX};
    fetch_start(out->loop, &o, on_answer, out);
    loop_run(out->loop);
    conn_close_lingering();
    loop_turn(out->loop, 0);
    loop_free(&out->loop);
    arena_fini(&arena);
    return out->failure ? err_set(err, ERR_IO, "%s", out->failure) : 0;
}

/* Text of a peer on its way to a terminal: one line, nothing that steers it. */
static struct str first_line(struct strbuf *b)
{
    size_t n = 0;
    while (n < b->n && n < SAID_BYTES_MAX && b->p[n] != '\n' && b->p[n] != '\r')
        n++;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)b->p[i] < ' ' || b->p[i] == 0x7f)
            b->p[i] = '?';
    return str_make(n ? b->p : "", n);
}

static int read_answer(struct answer *a, json_t **out, struct err *err)
{
    json_error_t fault;
    struct str line;
    if (a->status != 200) {
        line = first_line(&a->body);
        return err_set(err, a->status == 404 ? ERR_NOT_FOUND : ERR_INVALID, "answers %u: %.*s", a->status, STR_ARG(line));
    }
    *out = json_loadb(a->body.n ? a->body.p : "", a->body.n, 0, &fault);
    if (*out)
        return 0;
    line = first_line(&a->body);
    return err_set(err, ERR_SYNTAX, "answers with something other than JSON: %.*s", STR_ARG(line));
}

int ask_json(const char *address, const char *path, struct str body, json_t **out, struct err *err)
{
    struct answer a = {0};
    struct str query, page = str_split(str_from(path), '?', &query);
    int rc = exchange(address, path, body, &a, err);
    *out = NULL;
    if (rc == 0)
        rc = read_answer(&a, out, err);
    if (rc < 0)
        err_prefix(err, "http://%s%.*s", address, STR_ARG(page));
    strbuf_fini(&a.body);
    return rc;
}

const json_t *ask_field(const json_t *j, const char *path)
{
    struct str rest = str_from(path);
    while (j && rest.n) {
        char key[64];
        struct str name = str_split(rest, '.', &rest);
        snprintf(key, sizeof(key), "%.*s", STR_ARG(name));
        j = json_object_get(j, key);
    }
    return j;
}

const char *ask_text(const json_t *j, const char *path)
{
    const char *text = json_string_value(ask_field(j, path));
    return text ? text : "";
}

uint64_t ask_number(const json_t *j, const char *path)
{
    json_int_t n = json_integer_value(ask_field(j, path));
    return n > 0 ? (uint64_t)n : 0;
}

void ask_print(const json_t *j)
{
    json_dumpf(j, stdout, JSON_INDENT(2));
    putchar('\n');
}
