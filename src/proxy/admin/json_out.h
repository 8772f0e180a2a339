/* SPDX-License-Identifier: Apache-2.0
 *
 * Room-private: writes JSON in the layout of Envoy's admin pages, one space of indent a level.
 */
#ifndef PROXY_ADMIN_JSON_OUT_H
#define PROXY_ADMIN_JSON_OUT_H

#include "base/str.h"

struct json_out {
    struct strbuf *b;
    uint32_t depth;
    bool has_items; /* of the innermost open object or list */
};
/* `key` is NULL in lists and at the root; `bracket` is '{' or '['. Closing the root ends the line. */
void json_open(struct json_out *j, const char *key, char bracket);
void json_close(struct json_out *j, char bracket); /* '}' or ']' */
void json_str(struct json_out *j, const char *key, struct str value);
void json_uint(struct json_out *j, const char *key, uint64_t value);
void json_uint64(struct json_out *j, const char *key, uint64_t value); /* in quotes, as Protobuf's 64-bit ones */
void json_number(struct json_out *j, const char *key, struct str digits); /* as they stand */
void json_bool(struct json_out *j, const char *key, bool value);

#endif
