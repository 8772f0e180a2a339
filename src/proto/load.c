/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration files -> messages, by the file's extension as Envoy does it: .pb is packed, .yaml and
 * .yml are YAML, everything else JSON. Main thread, blocking.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/err.h"
#include "proto/doc_priv.h"
#include "proto/json.h"
#include "proto/yaml.h"

static void load_fault(struct err_list *faults, const char *path, const struct err *err)
{
    err_list_addf(faults, err->code, err->path, "%s: %s", path, err->message);
}

/* The whole file into the arena: trees borrow their strings from it. */
static int read_file(struct proto_arena *arena, const char *path, struct str *text, struct err *err)
{
    struct strbuf all = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
    if (fd < 0)
        return err_set_errno(err, errno, "cannot open the file");
    for (;;) {
        strbuf_reserve(&all, 65536);
        ssize_t n = read(fd, all.p + all.n, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = err_set_errno(err, errno, "cannot read the file");
        if (n <= 0)
            break;
        all.n += (size_t)n;
        if (all.n > PROTO_PACKED_MAX_BYTES) {
            rc = err_set(err, ERR_LIMIT, "the file is larger than %zu bytes", PROTO_PACKED_MAX_BYTES);
            break;
        }
    }
    close(fd);
    char *copy = rc == 0 ? proto_arena_strdup(arena, strbuf_str(&all)) : NULL;
    if (rc == 0 && !copy)
        rc = err_set(err, ERR_LIMIT, "the file takes more memory than is allowed");
    *text = str_make(copy, all.n);
    strbuf_fini(&all);
    return rc;
}

static bool has_extension(const char *path, struct str extension)
{
    return str_has_suffix_nocase(str_from(path), extension);
}

static int load_packed(struct proto_arena *arena, const char *path, struct str text,
                       const ProtobufCMessageDescriptor *desc, ProtobufCMessage **out,
                       struct err_list *faults)
{
    struct err err = {0};
    int rc = proto_unpack(arena, desc, text, out, &err);
    if (rc != 0)
        load_fault(faults, path, &err);
    return rc;
}

int proto_load_file(struct proto_arena *arena, const char *path,
                    const ProtobufCMessageDescriptor *desc, ProtobufCMessage **out,
                    const struct doc_node **root, struct err_list *faults)
{
    struct err err = {0};
    struct str text;
    size_t before = faults->count + faults->dropped;
    *out = NULL;
    *root = NULL;
    int rc = read_file(arena, path, &text, &err);
    if (rc == 0 && has_extension(path, STR(".pb_text")))
        rc = err_set(&err, ERR_UNSUPPORTED, "text-format Protobuf is not taken; use .json, .yaml or .pb");
    if (rc != 0) {
        load_fault(faults, path, &err);
        return rc;
    }
    if (has_extension(path, STR(".pb")))
        return load_packed(arena, path, text, desc, out, faults);
    bool yaml = has_extension(path, STR(".yaml")) || has_extension(path, STR(".yml"));
    *root = yaml ? yaml_read(arena, text, path, faults) : json_read(arena, text, path, faults);
    rc = *root ? doc_decode(arena, *root, desc, path, out, faults) : ERR_INVALID;
    if (rc == 0 && faults->count + faults->dropped != before) /* duplicate keys */
        rc = ERR_INVALID;
    return rc;
}
