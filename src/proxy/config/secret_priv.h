/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to this folder: readers of secrets, inline and whole. Each returns a new reference, after a fault too.
 */
#ifndef PROXY_CONFIG_SECRET_PRIV_H
#define PROXY_CONFIG_SECRET_PRIV_H

#include "proxy/config/config_priv.h"
#include "proxy/config/secret.h"

struct secret_spec *cfg_inline_certificate(struct config_reader *cr, const pb_tls_certificate *m);
struct secret_spec *cfg_inline_validation(struct config_reader *cr, const pb_validation *m);
struct secret_spec *cfg_inline_ticket_keys(struct config_reader *cr, const pb_ticket_keys *m);
struct secret_spec *cfg_secret(struct config_reader *cr, const pb_secret *m); /* NULL: holds nothing */

#endif
