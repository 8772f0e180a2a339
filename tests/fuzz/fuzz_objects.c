/* SPDX-License-Identifier: Apache-2.0
 *
 * Text -> mesh objects, held to their rules; the first byte says how it is read: as a file of objects (YAML or JSON), or as the
 * mesh's own configuration. What was read once is read again from the same bytes to the same hash.
 */
#include "base/check.h"
#include "model/mesh.h"
#include "model/object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_mesh(struct str text)
{
    struct err_list faults = {0}, warnings = {0};
    const struct mesh *m = mesh_read_warning(text, "m.yaml", &faults, &warnings);
    CHECK((m != NULL) == (faults.count == 0));
    mesh_unref(&m);
    err_list_fini(&faults);
    err_list_fini(&warnings);
}

static void read_objects(struct str text, const char *file, unsigned flags)
{
    struct err_list faults = {0}, warnings = {0};
    struct object_list list = {.warnings = &warnings}, again = {0};
    object_read_all(text, file, flags, &list, &faults);
    object_read_all(text, file, flags, &again, &faults);
    CHECK(list.count == again.count);
    for (size_t i = 0; i < list.count; i++) {
        CHECK(list.items[i]->hash == again.items[i]->hash && list.items[i]->name.n && list.items[i]->body);
        CHECK(object_compare(list.items[i], again.items[i]) == 0);
    }
    object_list_fini(&list);
    object_list_fini(&again);
    err_list_fini(&faults);
    err_list_fini(&warnings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct str text = str_make((const char *)data + 1, size - 1);
    if (data[0] == 'm')
        read_mesh(text);
    else
        read_objects(text, data[0] == 'j' ? "f.json" : "f.yaml", data[0] & 1 ? OBJECT_SKIP_UNKNOWN_KINDS : 0);
    return 0;
}
