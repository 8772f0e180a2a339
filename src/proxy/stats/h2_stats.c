/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts what HTTP/2 sessions tell, under Envoy's names. Called on the connection's worker.
 */
#include "proxy/stats/h2_stats.h"

#include "base/check.h"

static const struct stat_desc rows[] = {
#define X(id, name) [H2_STAT_##id] = {name, STAT_COUNTER, STAT_UNIT_NONE, ""},
    H2_STAT_TABLE(X)
#undef X
};
/* The table's last two have no name of their own in Envoy. */
_Static_assert(H2_STAT_RAPID_RESET == H2_STAT_COUNT - 2, "keep rapid_reset last but one");
_Static_assert(H2_STAT_CONTINUATION_FLOOD == H2_STAT_COUNT - 1, "keep continuation_flood last");
const struct stat_table h2_stat_table = {rows, H2_STAT_RAPID_RESET};

struct stat_scope *h2_stats_downstream(void)
{
    return stat_scope_get(STR("http2."), &h2_stat_table, STR("http2."), NULL, 0);
}

void h2_stats_count(struct stat_scope *s, enum h2_stat stat)
{
    if (stat == H2_STAT_CONTINUATION_FLOOD) /* too many of them are headers without end */
        stat_inc(s, H2_STAT_HEADER_OVERFLOW);
    else if (stat != H2_STAT_RAPID_RESET)
        stat_inc(s, stat);
}
