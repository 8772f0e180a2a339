/* SPDX-License-Identifier: Apache-2.0
 *
 * Secrets of a proxy as rows of a table: what they are and how long their certificates hold.
 */
#ifndef CLI_SECRETS_H
#define CLI_SECRETS_H

#include <jansson.h>

#include "cli/table.h"

#define SECRETS_HEAD "RESOURCE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE"
/* An item of /config_dump's secrets. Of a bundle the first certificate is told. */
void secrets_add_row(struct table *t, const json_t *item);

#endif
