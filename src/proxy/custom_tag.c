/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of custom tags: literals, request headers, metadata (strings bare, anything else as JSON), formats. Any thread.
 */
#include "proxy/custom_tag.h"

#include "proxy/cluster/cluster.h"
#include "proxy/route/route.h"

static const struct metadata *metadata_of(const struct custom_tag *t, const struct stream_info *info)
{
    switch (info ? t->source : TAG_OF_REQUEST) {
    case TAG_OF_REQUEST:
        return info ? &info->metadata : NULL;
    case TAG_OF_ROUTE:
        return info->route ? info->route->metadata : NULL;
    case TAG_OF_CLUSTER:
        return info->cluster ? cluster_spec(info->cluster)->metadata : NULL;
    case TAG_OF_HOST:
        return info->host ? info->host->metadata : NULL;
    }
    return NULL;
}

static bool add(struct strbuf *out, struct str s)
{
    strbuf_adds(out, s);
    return s.n > 0;
}

static bool add_metadata(const struct custom_tag *t, const struct format_context *cx, struct strbuf *out)
{
    const struct meta_value *v = metadata_find(metadata_of(t, cx->info), t->space, t->path, t->path_count);
    if (!v || v->kind == META_NULL)
        return add(out, t->value);
    meta_print_json(v, true, out);
    return true;
}

bool custom_tag_value(const struct custom_tag *t, const struct format_context *cx, struct strbuf *out)
{
    const struct header *h;
    size_t before = out->n;
    switch (t->kind) {
    case TAG_LITERAL:
        return add(out, t->value);
    case TAG_REQUEST_HEADER:
        h = cx->request ? headers_find(cx->request, t->header) : NULL;
        return add(out, h ? h->value : t->value);
    case TAG_METADATA:
        return add_metadata(t, cx, out);
    case TAG_FORMAT:
        format_run(t->format, cx, out);
        return out->n > before;
    }
    return false;
}

void custom_tags_fini(struct custom_tag *tags, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        format_free(&tags[i].format);
}
