/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared between the files of the HTTP/1.1 codec.
 */
#ifndef HTTP_CODEC_H1_PRIV_H
#define HTTP_CODEC_H1_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/codec/h1.h"

/* Text handed to the section parsers has this many bytes of its own behind it: vector loads need not
 * look where they end. */
#define H1_TEXT_SLACK 16

/* The lower-case form of a token character (RFC 9110 section 5.6.2), 0 for any other byte. */
extern const unsigned char h1_token_lower[256];

bool h1_method_is_registered(struct str method);

/* A start line without its CRLF, checked; the texts point into it. */
struct h1_start_line {
    struct str method;
    struct str scheme, authority, path; /* by the form of the target; null where it has none */
    uint16_t status;
    uint8_t minor;
    bool is_connect;
};
enum h1_error h1_start_line_parse(const struct h1_parser_opts *opts, const char *line, size_t n,
                                  struct h1_start_line *out);

/* A whole head (every LF in it stands behind a CR, its last line is the only empty one), in the
 * arena of `h`; the first line has line_bytes. Names are lowered where they stand. Fills h and
 * p->head. */
enum h1_error h1_head_parse(struct h1_parser *p, char *text, size_t n, size_t line_bytes,
                            struct headers *h);
/* The same for a trailer section; fields that may not stand there are left out. */
enum h1_error h1_trailers_parse(const struct h1_parser_opts *opts, char *text, size_t n,
                                struct headers *h);

#endif
