/* SPDX-License-Identifier: Apache-2.0
 *
 * The admin server's configuration. Main thread.
 */
#include "base/mem.h"
#include "proxy/config/config_priv.h"
#include "proxy/log/access_log.h"

#include <stdio.h>

/* access_log_path, the older form: a file in the default format. */
static void read_old_path(struct config_reader *cr, struct str path, struct config_admin *out, struct arena *a)
{
    struct err err = {0};
    struct access_log **all = ARENA_ARRAY(a, struct access_log *, out->access_log_count + 1);
    for (uint32_t i = 0; i < out->access_log_count; i++)
        all[i] = out->access_logs[i];
    struct access_log *l = NEW(access_log);
    struct format *format = format_new(format_default_http(), false, &err);
    out->access_logs = all;
    if (format && access_log_to_file(l, path, format, &err) == 0) {
        all[out->access_log_count++] = l;
    } else {
        cfg_fault_err(cr, "access_log_path", &err);
        access_log_free(&l);
    }
}

static void read_admin(struct config_reader *cr, const pb_admin *m, struct config_admin *out)
{
    struct arena *a = &cr->out->arena;
    if (GET(m, address)) {
        IN("address")
            cfg_address(cr, m->address, &out->addr, NULL, NULL);
        out->enabled = true;
    }
    out->profile_path = arena_str(a, TEXT(m, profile_path));
    out->sock_opts = cfg_sock_opts(cr, a, "socket_options", GET(m, socket_options), LEN(m, socket_options),
                                   CFG_SOCK_BEFORE_LISTEN, &out->sock_opt_count);
    out->access_logs = cfg_access_logs(cr, "access_log", GET(m, access_log), LEN(m, access_log), a, &out->access_log_count);
    struct str path = TEXT(m, access_log_path);
    if (path.n)
        read_old_path(cr, path, out, a);
    out->ignore_global_conn_limit = GET(m, ignore_global_conn_limit);
    out->allow_path_count = LEN(m, allow_paths);
    out->allow_paths = ARENA_ARRAY(a, struct string_match, out->allow_path_count);
    for (uint32_t i = 0; i < out->allow_path_count; i++)
        IN("allow_paths[%u]", i)
            cfg_string_match(cr, m->allow_paths[i], &out->allow_paths[i]);
}

void cfg_admin(struct config_reader *cr, const pb_admin *m)
{
    if (m)
        IN("admin")
            read_admin(cr, m, &cr->out->admin);
}
