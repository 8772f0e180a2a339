/* SPDX-License-Identifier: Apache-2.0
 *
 * A folder of one test's own, and files in it.
 */
#ifndef CA_FILES_H
#define CA_FILES_H

#include "base/err.h"
#include "base/file.h"
#include "pki/cert.h"
#include "pki/issue.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static inline int ca_folder_make(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/weft_ca.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static inline const char *ca_path(const char *name)
{
    static char path[4][160];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static inline int ca_folder_drop(void **state)
{
    (void)state;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        unlink(ca_path(e->d_name));
    if (d)
        closedir(d);
    return rmdir(folder);
}

static inline void ca_put(const char *name, struct str text)
{
    struct err err = {0};
    if (file_replace(ca_path(name), text, 0600, &err) < 0)
        fail_msg("%s", err.message);
}

static inline void ca_get(const char *name, struct strbuf *out)
{
    strbuf_reset(out);
    assert_int_equal(file_read(ca_path(name), 1 << 20, out, NULL), 0);
}

#define CA_NEW_KEY() key_generate(KEY_EC_P256, NULL)

static inline void ca_request(const struct key *k, struct strbuf *csr)
{
    assert_int_equal(key_csr(k, STR("spiffe://other/claimed"), STR_NULL, csr, NULL), 0);
}

#endif
