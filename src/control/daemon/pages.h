/* SPDX-License-Identifier: Apache-2.0
 *
 * weftd's pages: readiness, what it knows and what it sent, metrics. HTTP/1 and HTTP/2 in clear text; nothing is changed by a page.
 */
#ifndef CONTROL_DAEMON_PAGES_H
#define CONTROL_DAEMON_PAGES_H

#include "control/daemon/secure.h"
#include "control/daemon/source.h"
#include "control/view/view.h"

struct pages_about { /* borrowed for as long as the pages are served */
    struct world *world;
    struct view *view;
    const struct source *source;
    const struct secure *secure;
    struct graph *graph;
    const struct load_reports *reports;
};
struct pages;
struct pages *pages_new(struct loop *loop, const struct pages_about *about);
void pages_accept(struct pages *p, struct conn *take_conn);
void pages_free(struct pages **p); /* closes what is open */

#endif
