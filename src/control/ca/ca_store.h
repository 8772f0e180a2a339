/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a self-signed authority keeps its keys: one text, read whole and replaced whole. In the signer's process only.
 */
#ifndef CONTROL_CA_STORE_H
#define CONTROL_CA_STORE_H

#include "base/err.h"
#include "base/str.h"

#define CA_STORE_MAX_BYTES ((size_t)256 << 10)

struct ca_store;
struct ca_store_ops {
    /* Appends the text; ERR_NOT_FOUND: nothing was saved yet. The caller wipes it. */
    int (*load)(struct ca_store *s, struct strbuf *text, struct err *err);
    /* Once it gave 0 the text is there after a crash too; after an error the old one is. */
    int (*save)(struct ca_store *s, struct str text, struct err *err);
    void (*free)(struct ca_store *s);
};
struct ca_store { /* embedded in its kind */
    const struct ca_store_ops *ops;
};

/* A file that nobody but its owner may read or write: any other is refused. The store holds a lock on "<path>.lock" until it
 * is freed, so that of two processes only one is the authority; ERR_STATE for the other. */
struct ca_store *ca_file_store_new(const char *path, struct err *err);
void ca_store_free(struct ca_store **s);

#endif
