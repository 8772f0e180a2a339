/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP/1.1 parser on any bytes, as a request and as a response: the transcript must not depend
 * on how the bytes are cut. What was parsed as a request is written and parsed again: one message,
 * the same framing (what we send on is what we took it for). Bytes 0 and 1 choose options and the
 * cuts, the rest is the input.
 */
#include "../unit/http_codec/h1_transcript.h"

#include "http/codec/uri.h"

#include <stdio.h>
#include <stdlib.h>

#define CHOICE_BYTES 2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool cut_never(size_t at, const void *arg)
{
    (void)at;
    (void)arg;
    return false;
}

static bool cut_always(size_t at, const void *arg)
{
    (void)at;
    (void)arg;
    return true;
}

/* About one place in four, by a hash of the place and a seed. */
static bool cut_somewhere(size_t at, const void *arg)
{
    uint32_t v = ((uint32_t)at + *(const uint8_t *)arg * 0x9e37u) * 0x85ebca6bu;
    return (v >> 13) % 4 == 0;
}

static void die(const char *what, struct strbuf *a, struct strbuf *b)
{
    fprintf(stderr, "%s:\n%.*s\n%.*s\n", what, (int)a->n, a->p ? a->p : "", (int)b->n,
            b->p ? b->p : "");
    abort();
}

static struct h1_parser_opts options(uint8_t choice, bool is_request)
{
    struct h1_parser_opts opts = {
        .limits = choice & 1 ? H1_LIMITS_DEFAULT : (struct h1_limits){200, 60, 8, 60, 16},
        .is_request = is_request,
        .accept_http10 = choice & 2,
        .default_host_http10 = choice & 4 ? STR("default") : STR(""),
        .allow_absolute_url = true,
        .keep_trailers = choice & 8,
        .keep_raw_names = choice & 16,
        .allow_custom_methods = choice & 32,
        .allow_chunked_length = choice & 64,
        .allow_upgrade = true,
        .underscore = choice & 128 ? H1_UNDERSCORE_DROP : H1_UNDERSCORE_ALLOW,
    };
    return opts;
}

static void check_cuts(const struct h1_parser_opts *opts, struct str bytes, uint8_t seed)
{
    bool to_head = seed & 1 && !opts->is_request, to_connect = seed & 2 && !opts->is_request;
    struct transcript_cut cuts[] = {
        {cut_never, NULL, false},
        {cut_always, NULL, true},
        {cut_always, NULL, false},
        {cut_somewhere, &seed, true},
        {cut_somewhere, &seed, false},
    };
    struct strbuf first = transcript_of(opts, to_head, to_connect, bytes, &cuts[0]);
    for (size_t i = 1; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        struct strbuf other = transcript_of(opts, to_head, to_connect, bytes, &cuts[i]);
        if (!str_eq(strbuf_str(&first), strbuf_str(&other)))
            die("the cut changes the result", &first, &other);
        strbuf_fini(&other);
    }
    strbuf_fini(&first);
}

/* One head: written, it must parse as one head with the same framing. */
static void check_rewrite(const struct h1_parser_opts *opts, struct str bytes)
{
    struct h1_parser p, again;
    struct arena arena;
    struct headers h, h2;
    struct buf in = BUF_INIT, body = BUF_INIT, out = BUF_INIT;
    enum h1_body_form form;
    arena_init(&arena, 1 << 20);
    headers_init(&h, &arena);
    headers_init(&h2, &arena);
    h1_parser_init(&p, opts);
    buf_append_str(&in, bytes);
    if (h1_parser_next(&p, &in, &h, &body) == H1_HEAD) {
        struct h1_parser_opts wide = *opts;
        const struct h1_write_opts w = {.end = p.head.no_body,
                                        .upgrade = p.head.upgrade,
                                        .name_case = opts->keep_raw_names ? H1_CASE_PRESERVE
                                                                          : H1_CASE_PROPER,
                                        .enable_trailers = true};
        wide.limits = (struct h1_limits){1 << 20, 0, 200, 1 << 20, 4096};
        wide.accept_http10 = true;
        h1_parser_init(&again, &wide);
        if (!h1_write_request(&out, &h, &w, &form) ||
            h1_parser_next(&again, &out, &h2, &body) != H1_HEAD || out.len != 0)
            abort();
        if (again.head.chunked != p.head.chunked || again.head.connect != p.head.connect ||
            again.head.content_length != p.head.content_length ||
            !str_eq(headers_get_id(&h, HDR_PATH), headers_get_id(&h2, HDR_PATH)) ||
            !str_eq(headers_get_id(&h, HDR_AUTHORITY), headers_get_id(&h2, HDR_AUTHORITY)))
            abort();
    }
    buf_fini(&in);
    buf_fini(&out);
    arena_fini(&arena);
}

/* Normalising twice changes nothing more. */
static void check_path(struct str path)
{
    static const struct path_opts opts = {.normalize = true, .merge_slashes = true};
    struct arena arena;
    arena_init(&arena, 1 << 20);
    if (path_normalize(&path, &opts, &arena) == PATH_OK) {
        struct str again = path;
        if (path_normalize(&again, &opts, &arena) != PATH_OK || !str_eq(path, again))
            abort();
    }
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < CHOICE_BYTES)
        return 0;
    struct str bytes = str_make((const char *)data + CHOICE_BYTES, size - CHOICE_BYTES);
    struct h1_parser_opts requests = options(data[0], true), responses = options(data[0], false);
    check_cuts(&requests, bytes, data[1]);
    check_cuts(&responses, bytes, data[1]);
    check_rewrite(&requests, bytes);
    check_path(bytes);
    return 0;
}
