/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON for admin pages, streamed: commas and indentation follow from what was written last. Main thread.
 */
#include "proxy/admin/json_out.h"

static void new_line(struct json_out *j)
{
    strbuf_addc(j->b, '\n');
    for (uint32_t i = 0; i < j->depth; i++)
        strbuf_addc(j->b, ' ');
}

static void begin_item(struct json_out *j, const char *key)
{
    if (j->has_items)
        strbuf_addc(j->b, ',');
    if (j->depth)
        new_line(j);
    j->has_items = true;
    if (!key)
        return;
    strbuf_addc(j->b, '"');
    strbuf_add_json(j->b, str_from(key));
    strbuf_addz(j->b, "\": ");
}

void json_open(struct json_out *j, const char *key, char bracket)
{
    begin_item(j, key);
    strbuf_addc(j->b, bracket);
    j->depth++;
    j->has_items = false;
}

void json_close(struct json_out *j, char bracket)
{
    j->depth--;
    if (j->has_items)
        new_line(j);
    strbuf_addc(j->b, bracket);
    j->has_items = true;
    if (!j->depth)
        strbuf_addc(j->b, '\n');
}

void json_str(struct json_out *j, const char *key, struct str value)
{
    begin_item(j, key);
    strbuf_addc(j->b, '"');
    strbuf_add_json(j->b, value);
    strbuf_addc(j->b, '"');
}

void json_uint(struct json_out *j, const char *key, uint64_t value)
{
    begin_item(j, key);
    strbuf_addu(j->b, value);
}

void json_uint64(struct json_out *j, const char *key, uint64_t value)
{
    begin_item(j, key);
    strbuf_addc(j->b, '"');
    strbuf_addu(j->b, value);
    strbuf_addc(j->b, '"');
}

void json_number(struct json_out *j, const char *key, struct str digits)
{
    begin_item(j, key);
    strbuf_adds(j->b, digits);
}

void json_bool(struct json_out *j, const char *key, bool value)
{
    begin_item(j, key);
    strbuf_addz(j->b, value ? "true" : "false");
}
