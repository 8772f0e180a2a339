/* SPDX-License-Identifier: Apache-2.0
 *
 * type.tracing.v3.CustomTag: a name and where its value comes from, for access logs and traces. Read by
 * proxy/config/custom_tag.c.
 */
#ifndef PROXY_CUSTOM_TAG_H
#define PROXY_CUSTOM_TAG_H

#include "proxy/log/access_log.h"

enum custom_tag_kind { TAG_LITERAL, TAG_REQUEST_HEADER, TAG_METADATA, TAG_FORMAT };
enum custom_tag_source { TAG_OF_REQUEST, TAG_OF_ROUTE, TAG_OF_CLUSTER, TAG_OF_HOST };
struct custom_tag {
    struct str name;
    enum custom_tag_kind kind;
    struct str value;            /* LITERAL (and what the environment said); else the default, "" none */
    struct str header;           /* REQUEST_HEADER; lower case */
    enum custom_tag_source source; /* METADATA */
    struct str space, *path; uint32_t path_count;
    struct format *format;       /* FORMAT; owned */
};
/* Appends the value; false (and nothing) when there is none: the tag is left out. */
bool custom_tag_value(const struct custom_tag *t, const struct format_context *cx, struct strbuf *out);
void custom_tags_fini(struct custom_tag *tags, uint32_t n);

#endif
