/* SPDX-License-Identifier: Apache-2.0
 *
 * Access-log formats: any text is compiled or refused with a message, and what was compiled runs on an
 * exchange of which nothing is known.
 */
#include <stdlib.h>

#include "proxy/log/access_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = {0};
    struct stream_info info = {0};
    struct format_context cx = {.info = &info};
    struct strbuf out = {0};
    struct format *f = format_new(str_make((const char *)data, n), false, &err);
    if (f)
        format_run(f, &cx, &out);
    else if (!err.message[0])
        abort();
    format_free(&f);
    strbuf_fini(&out);
    return 0;
}
