/* SPDX-License-Identifier: Apache-2.0
 *
 * Scopes of filters. Main thread.
 */
#include "proxy/filter/filter_scope.h"

struct stat_scope *filter_scope(const struct stat_scope *parent, struct str below, const struct stat_table *table)
{
    struct strbuf prefix = {0}, extracted = {0};
    strbuf_adds(&prefix, parent->prefix);
    strbuf_adds(&prefix, below);
    strbuf_addz(&extracted, "http.");
    strbuf_adds(&extracted, below);
    struct str name = str_make(parent->prefix.p + sizeof "http." - 1, parent->prefix.n - sizeof "http.");
    struct stat_tag tag = {STR("envoy.http_conn_manager_prefix"), name};
    struct stat_scope *s = stat_scope_get(strbuf_str(&prefix), table, strbuf_str(&extracted), &tag, 1);
    strbuf_fini(&prefix);
    strbuf_fini(&extracted);
    return s;
}

struct stat_scope *network_filter_scope(const char *family, struct str stat_prefix, struct str tag, const struct stat_table *table)
{
    struct strbuf prefix = {0}, extracted = {0};
    strbuf_addf(&prefix, "%s.%.*s.", family, STR_ARG(stat_prefix));
    strbuf_addf(&extracted, "%s.", family);
    struct stat_tag pair = {tag, stat_prefix};
    struct stat_scope *s = stat_scope_get(strbuf_str(&prefix), table, strbuf_str(&extracted), &pair, 1);
    strbuf_fini(&prefix);
    strbuf_fini(&extracted);
    return s;
}
