/* SPDX-License-Identifier: Apache-2.0
 *
 * Event logs of health checks and outlier detection: one JSON object a line, appended. Main thread.
 */
#ifndef PROXY_HEALTH_EVENT_LOG_H
#define PROXY_HEALTH_EVENT_LOG_H

#include "base/str.h"

struct addr;
/* The log at that path: one for all that write to it. NULL for "" and where it can't be opened (which is logged). */
struct event_log *event_log_get(struct str path);
void event_log_unref(struct event_log **l);
/* `line` gets its newline here and is written at once: events are rare. */
void event_log_write(struct event_log *l, struct strbuf *line);

/* ---- parts of lines ---- */
void event_add_text(struct strbuf *b, const char *key, struct str value); /* ,"key":"value"; no comma after '{' */
void event_add_time(struct strbuf *b, uint64_t wall_us);                  /* ,"timestamp":"…Z" in milliseconds */
void event_add_raw(struct strbuf *b, const char *key, const char *json);
void event_add_address(struct strbuf *b, const char *key, const struct addr *a); /* core.v3.Address, defaults shown */

#endif
