/* SPDX-License-Identifier: Apache-2.0
 *
 * Questions to weftd's and a proxy's pages, one at a time, waiting for the answer.
 */
#ifndef CLI_ASK_H
#define CLI_ASK_H

#include <jansson.h>

#include "base/err.h"
#include "base/str.h"

#define ASK_WEFTD "127.0.0.1:8080"  /* its --http-addr */
#define ASK_ADMIN "127.0.0.1:15000" /* a sidecar's admin page, from within its pod */
#define ASK_TIMEOUT_MS 30000
#define ASK_BYTES_MAX ((size_t)256 << 20)

/* `address`: IP:PORT. A GET, or a POST where there is a body. The answer's JSON is the caller's. Errors name the address and
 * the page: nobody listens, no answer in time, too long, another status than 200 (with the first line of what it says), no JSON. */
int ask_json(const char *address, const char *path, struct str body, json_t **out, struct err *err);

/* ---- looking into what was answered: NULL and "" where something is missing or of another type ---- */

/* A field at "a.b.c"; names with dots in them aren't reached so. */
const json_t *ask_field(const json_t *j, const char *path);
const char *ask_text(const json_t *j, const char *path);
uint64_t ask_number(const json_t *j, const char *path);
void ask_print(const json_t *j); /* to stdout, indented */

#endif
