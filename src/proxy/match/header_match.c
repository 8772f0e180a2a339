/* SPDX-License-Identifier: Apache-2.0
 *
 * HeaderMatcher. Read-only after configuration; any worker.
 */
#include "proxy/match/header_match.h"

#include "base/mem.h"

void header_matcher_init(struct header_matcher *m, struct str name)
{
    *m = (struct header_matcher){.kind = HEADER_MATCH_PRESENT, .present = true};
    char *copy = mem_strndup(name.p ? name.p : "", name.n);
    for (size_t i = 0; i < name.n; i++)
        copy[i] = ascii_lower(copy[i]);
    m->name = str_make(copy, name.n);
    m->id = header_id_of(m->name);
    if (m->id == HDR_HOST) { /* kept as :authority, whichever way it came */
        mem_free(copy);
        m->name = str_make(mem_strdup(":authority"), 10);
        m->id = HDR_AUTHORITY;
    }
}

void header_matcher_fini(struct header_matcher *m)
{
    mem_free((char *)m->name.p);
    string_match_fini(&m->string);
    m->name = STR_NULL;
}

static bool value_matches(const struct header_matcher *m, struct str value)
{
    int64_t number;
    switch (m->kind) {
    case HEADER_MATCH_STRING:
        return string_matches(&m->string, value);
    case HEADER_MATCH_RANGE:
        return str_to_i64(value, &number) && number >= m->range_start && number < m->range_end;
    case HEADER_MATCH_PRESENT:
        return true;
    }
    return false;
}

static bool is_ours(const struct header_matcher *m, const struct header *f)
{
    return m->id != HDR_OTHER ? f->id == m->id : f->id == HDR_OTHER && str_eq(f->name, m->name);
}

/* Each value by itself: a header that occurs several times matches when one of its values does. */
static bool any_matches(const struct header_matcher *m, const struct headers *h, bool *present)
{
    if (!h || (m->id != HDR_OTHER && !headers_has_id(h, m->id)))
        return false;
    for (uint32_t i = 0; i < h->count; i++) {
        if (!is_ours(m, &h->items[i]))
            continue;
        *present = true;
        if (value_matches(m, h->items[i].value))
            return true;
    }
    return false;
}

bool header_matches(const struct header_matcher *m, const struct headers *h)
{
    bool present = false, matches = any_matches(m, h, &present);
    if (m->kind == HEADER_MATCH_PRESENT)
        return (present || m->treat_missing_as_empty ? m->present : !m->present) != m->invert;
    if (!present)
        return m->treat_missing_as_empty && value_matches(m, STR("")) != m->invert;
    return matches != m->invert;
}
