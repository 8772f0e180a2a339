/* SPDX-License-Identifier: Apache-2.0
 *
 * HPACK's two tables (RFC 7541 section 2.3). The text of all entries lies in one buffer of at most
 * twice the table's limit, in order of age: an entry is added behind the last, dies at the front,
 * and when the end is reached the living move to the front, so that each byte is moved at most
 * once on average and each text stays in one piece.
 */
#include "http/codec/hpack.h"

#include "base/mem.h"
#include "http/codec/headers.h"

#include <string.h>

#define TEXT_CAP_FIRST 512
#define ENTRY_CAP_FIRST 16

#define F(name, value, id) {{name, sizeof(name) - 1}, {value, sizeof(value) - 1}, HDR_##id, HPACK_NAME_STATIC | HPACK_VALUE_STATIC}
static const struct hpack_field statics[HPACK_STATIC_COUNT + 1] = {
    {{NULL, 0}, {NULL, 0}, HDR_OTHER, 0},
    F(":authority", "", AUTHORITY), F(":method", "GET", METHOD), F(":method", "POST", METHOD),
    F(":path", "/", PATH), F(":path", "/index.html", PATH), F(":scheme", "http", SCHEME),
    F(":scheme", "https", SCHEME), F(":status", "200", STATUS), F(":status", "204", STATUS),
    F(":status", "206", STATUS), F(":status", "304", STATUS), F(":status", "400", STATUS),
    F(":status", "404", STATUS), F(":status", "500", STATUS), F("accept-charset", "", OTHER),
    F("accept-encoding", "gzip, deflate", ACCEPT_ENCODING), F("accept-language", "", OTHER),
    F("accept-ranges", "", OTHER), F("accept", "", ACCEPT), F("access-control-allow-origin", "", OTHER),
    F("age", "", OTHER), F("allow", "", OTHER), F("authorization", "", AUTHORIZATION),
    F("cache-control", "", CACHE_CONTROL), F("content-disposition", "", OTHER),
    F("content-encoding", "", CONTENT_ENCODING), F("content-language", "", OTHER),
    F("content-length", "", CONTENT_LENGTH), F("content-location", "", OTHER),
    F("content-range", "", OTHER), F("content-type", "", CONTENT_TYPE), F("cookie", "", COOKIE),
    F("date", "", DATE), F("etag", "", ETAG), F("expect", "", EXPECT), F("expires", "", OTHER),
    F("from", "", OTHER), F("host", "", HOST), F("if-match", "", OTHER),
    F("if-modified-since", "", OTHER), F("if-none-match", "", OTHER), F("if-range", "", OTHER),
    F("if-unmodified-since", "", OTHER), F("last-modified", "", LAST_MODIFIED), F("link", "", OTHER),
    F("location", "", LOCATION), F("max-forwards", "", OTHER), F("proxy-authenticate", "", OTHER),
    F("proxy-authorization", "", OTHER), F("range", "", RANGE), F("referer", "", REFERER),
    F("refresh", "", OTHER), F("retry-after", "", RETRY_AFTER), F("server", "", SERVER),
    F("set-cookie", "", SET_COOKIE), F("strict-transport-security", "", OTHER),
    F("transfer-encoding", "", TRANSFER_ENCODING), F("user-agent", "", USER_AGENT), F("vary", "", VARY),
    F("via", "", VIA), F("www-authenticate", "", WWW_AUTHENTICATE),
};
#undef F

static uint8_t static_of_id[HDR_OTHER + 1];

__attribute__((constructor)) static void index_statics(void)
{
    for (uint8_t i = HPACK_STATIC_COUNT; i > 0; i--)
        static_of_id[statics[i].id] = i;
    static_of_id[HDR_OTHER] = 0;
}

const struct hpack_field *hpack_static(uint32_t index)
{
    return &statics[index];
}

uint32_t hpack_static_of_id(uint16_t id)
{
    return static_of_id[id];
}

void hpack_table_init(struct hpack_table *t, size_t max_bytes)
{
    *t = (struct hpack_table){.max_bytes = max_bytes};
}

void hpack_table_fini(struct hpack_table *t)
{
    mem_free(t->entries);
    mem_free(t->text);
    *t = (struct hpack_table){0};
}

static void evict_to(struct hpack_table *t, size_t bytes)
{
    while (t->bytes > bytes) {
        const struct hpack_entry *e = hpack_table_entry(t, t->first++);
        t->bytes -= e->name_n + e->value_n + HPACK_ENTRY_OVERHEAD;
    }
}

void hpack_table_set_max(struct hpack_table *t, size_t max_bytes)
{
    t->max_bytes = max_bytes;
    evict_to(t, max_bytes);
}

static bool reserve_entry(struct hpack_table *t)
{
    uint32_t count = hpack_table_count(t);
    if (count < t->entry_cap)
        return true;
    uint32_t cap = t->entry_cap ? t->entry_cap * 2 : ENTRY_CAP_FIRST;
    struct hpack_entry *entries = mem_try_alloc(cap * sizeof(*entries));
    if (!entries)
        return false;
    for (uint32_t serial = t->first; serial != t->next; serial++)
        entries[serial & (cap - 1)] = *hpack_table_entry(t, serial);
    mem_free(t->entries);
    t->entries = entries;
    t->entry_cap = cap;
    return true;
}

/* Room for n bytes, at text_end. Living text moves to the front of the buffer, `*dropped` bytes on, or
 * to a larger buffer; the caller frees the old one. */
static bool reserve_text(struct hpack_table *t, size_t n, const char **old_text, size_t *dropped)
{
    *old_text = t->text;
    *dropped = 0;
    if (t->text && t->text_cap - t->text_end >= n)
        return true;
    size_t start = hpack_table_count(t) ? hpack_table_entry(t, t->first)->at - t->text_base : t->text_end;
    size_t live = t->text_end - start, need = live + n, cap = t->text_cap;
    if (!t->text || (need > cap / 2 && cap < 2 * t->max_bytes)) {
        cap = cap ? cap * 2 : TEXT_CAP_FIRST;
        cap = need > cap ? need : cap;
        char *text = mem_try_alloc(cap);
        if (!text)
            return false;
        if (live)
            memcpy(text, t->text + start, live);
        t->text = text;
        t->text_cap = cap;
    } else {
        memmove(t->text, t->text + start, live);
    }
    t->text_base += (uint32_t)start;
    t->text_end = live;
    *dropped = start;
    return true;
}

static const char *follow(const struct hpack_table *t, const char *p, const char *old_text, size_t old_end,
                          size_t dropped)
{
    bool is_inside = old_text && p >= old_text && p < old_text + old_end;
    return is_inside ? t->text + (size_t)(p - old_text) - dropped : p;
}

bool hpack_table_add(struct hpack_table *t, struct hpack_field *f, uint32_t hash, uint32_t name_hash)
{
    size_t n = f->name.n + f->value.n, bytes = n + HPACK_ENTRY_OVERHEAD;
    if (bytes > t->max_bytes) {
        evict_to(t, 0);
        return true;
    }
    const char *old_text;
    size_t old_end = t->text_end, dropped;
    if (!reserve_entry(t) || !reserve_text(t, n, &old_text, &dropped))
        return false;
    const char *name = follow(t, f->name.p, old_text, old_end, dropped);
    char *to = t->text + t->text_end;
    if (f->name.n)
        memcpy(to, name, f->name.n);
    if (f->value.n)
        memcpy(to + f->name.n, f->value.p, f->value.n);
    if (old_text != t->text)
        mem_free((void *)(uintptr_t)old_text);
    evict_to(t, t->max_bytes - bytes);
    struct hpack_entry *e = &t->entries[t->next++ & (t->entry_cap - 1)];
    *e = (struct hpack_entry){
        .at = t->text_base + (uint32_t)t->text_end,
        .name_n = (uint32_t)f->name.n,
        .value_n = (uint32_t)f->value.n,
        .hash = hash,
        .name_hash = name_hash,
        .id = f->id,
        .flags = f->flags & (uint8_t)~(HPACK_NAME_STATIC | HPACK_VALUE_STATIC),
    };
    t->bytes += bytes;
    t->text_end += n;
    if (!(f->flags & HPACK_NAME_STATIC))
        f->name.p = to;
    f->value.p = to + f->name.n;
    return true;
}
