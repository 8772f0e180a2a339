/* SPDX-License-Identifier: Apache-2.0
 *
 * What the rules of the kinds share.
 */
#ifndef MODEL_VALIDATE_PRIV_H
#define MODEL_VALIDATE_PRIV_H

#include <stdarg.h>
#include <stdio.h>

#include "model/model_priv.h"
#include "proto/fields.h"

struct check {
    struct proto_reader r; /* where we are (PROTO_IN), and the faults */
    struct err_list *warnings; /* may be NULL */
    const struct object *object;
};
/* At the present path plus `field` ("" none). */
#define check_fault(c_, field_, ...) ((void)proto_fault(&(c_)->r, ERR_INVALID, field_, __VA_ARGS__))
void check_warn(struct check *c, const char *field, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ---- names.c: what a text may look like ---- */
bool is_dns_label(struct str s);     /* RFC 1123: at most 63 of a-z, 0-9, '-' */
bool is_dns_subdomain(struct str s); /* labels with dots between, at most 253 */
bool is_label_name(struct str s);    /* a label's value, or its key behind the prefix */

#endif
