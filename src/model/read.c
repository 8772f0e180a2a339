/* SPDX-License-Identifier: Apache-2.0
 *
 * Files and documents -> objects: which kind a document is of, lists opened, texts cut into documents. Refuses kinds that it
 * doesn't know. Any thread.
 */
#include "model/model_priv.h"
#include "proto/json.h"
#include "proto/yaml.h"

/* ---- kinds ---- */

static struct str group_of(struct str api_version)
{
    struct str version, group = str_split(api_version, '/', &version);
    return version.p ? group : STR("");
}

/* The Gateway API has kinds of Istio's names that are others. */
static bool is_other_api(struct str group)
{
    return str_eq(group, STR("gateway.networking.k8s.io"));
}

/* Is a document of this group meant for the mesh, or a slip of the pen? */
static bool is_ours(struct str group, const struct kind *near)
{
    return str_has_suffix(group, STR(".istio.io")) || is_other_api(group) ||
           (near && str_eq(group, str_from(near->group)));
}

static void unknown_kind(const struct doc_node *root, const struct kind *near, const char *file, struct err_list *faults)
{
    struct str version = doc_text(root, STR("apiVersion")), kind = doc_text(root, STR("kind"));
    struct doc_place place = {.file = file, .path = "kind"};
    const struct doc_node *at = doc_member(root, STR("kind"));
    if (!near || is_other_api(group_of(version))) {
        doc_fault_at(faults, &place, at, "%.*s %.*s is not supported yet", STR_ARG(version), STR_ARG(kind));
    } else if (str_eq(kind, str_from(near->name))) {
        place.path = "apiVersion";
        at = doc_member(root, STR("apiVersion"));
        struct str version_of = str_split(str_from(near->versions), ' ', &(struct str){0});
        doc_fault_at(faults, &place, at, "%.*s has no %s; did you mean %s%s%.*s?", STR_ARG(version), near->name,
                     near->group, *near->group ? "/" : "", STR_ARG(version_of));
    } else {
        doc_fault_at(faults, &place, at, "no kind %.*s in %.*s; did you mean %s?", STR_ARG(kind), STR_ARG(version),
                     near->name);
    }
}

/* NULL after a fault, and where the document is to be skipped. */
static const struct kind *kind_of_document(const struct doc_node *root, const char *file, unsigned flags,
                                           struct err_list *faults)
{
    static const char *const keys[] = {"apiVersion", "kind"};
    struct doc_place place = {.file = file};
    const struct kind *near;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const struct doc_node *node = doc_member(root, str_from(keys[i]));
        if (node && node->kind == DOC_STRING && node->text.n)
            continue;
        place.path = keys[i];
        doc_fault_at(faults, &place, node ? node : root, node ? "must be a string" : "is missing");
        return NULL;
    }
    struct str version = doc_text(root, STR("apiVersion")), name = doc_text(root, STR("kind"));
    const struct kind *k = kind_find(version, name, &near);
    if (!k && (!(flags & OBJECT_SKIP_UNKNOWN_KINDS) || is_ours(group_of(version), near)))
        unknown_kind(root, near, file, faults);
    return k;
}

/* ---- documents ---- */

static bool is_map(const struct doc_node *root, const char *file, struct err_list *faults)
{
    if (root->kind == DOC_MAP)
        return true;
    doc_fault_at(faults, &(struct doc_place){.file = file}, root, "must be an object with apiVersion, kind and metadata");
    return false;
}

const struct object *object_read_as(const struct kind *k, const struct doc_node *root, const char *file,
                                    struct err_list *faults)
{
    return is_map(root, file, faults) ? read_object(k, root, file, faults, NULL) : NULL;
}

const struct object *object_read(const struct doc_node *root, const char *file, unsigned flags, struct err_list *faults)
{
    const struct kind *k = is_map(root, file, faults) ? kind_of_document(root, file, flags, faults) : NULL;
    return k ? read_object(k, root, file, faults, NULL) : NULL;
}

/* ---- files ---- */

struct file {
    const char *name;
    unsigned flags;
    struct object_list *out;
    struct err_list *faults;
};

static void read_one(struct file *f, const struct doc_node *root, const struct kind *k)
{
    if (!is_map(root, f->name, f->faults))
        return;
    size_t before = fault_count(f->faults);
    if (!k || doc_member(root, STR("kind")))
        k = kind_of_document(root, f->name, f->flags, f->faults);
    f->out->skipped += !k && fault_count(f->faults) == before;
    const struct object *o = k ? read_object(k, root, f->name, f->faults, f->out->warnings) : NULL;
    if (o)
        object_list_add(f->out, o);
}

/* Is it a list of objects ("List", "VirtualServiceList")? *of: the kind of items that don't say theirs, or NULL. */
static bool is_list(const struct doc_node *root, const struct kind **of)
{
    static const size_t suffix = sizeof("List") - 1;
    const struct kind *near;
    struct str kind = doc_text(root, STR("kind"));
    *of = NULL;
    if (!str_has_suffix(kind, STR("List")) || !doc_member(root, STR("items")))
        return false;
    if (kind.n > suffix)
        *of = kind_find(doc_text(root, STR("apiVersion")), str_make(kind.p, kind.n - suffix), &near);
    return kind.n == suffix || *of;
}

static void read_document(struct file *f, const struct doc_node *root)
{
    const struct kind *of;
    if (root->kind == DOC_NULL)
        return;
    if (!is_list(root, &of)) {
        read_one(f, root, NULL);
        return;
    }
    const struct doc_node *items = doc_member(root, STR("items"));
    if (items->kind != DOC_LIST && items->kind != DOC_NULL)
        doc_fault_at(f->faults, &(struct doc_place){.file = f->name, .path = "items"}, items, "must be a list");
    for (const struct doc_node *item = items->kind == DOC_LIST ? items->first : NULL; item; item = item->next)
        read_one(f, item, of);
}

/* A document whose own text is at fault (a key that stands twice) gives no object, but its other faults are told. */
static void read_text(struct file *f, struct str text, uint32_t line)
{
    struct proto_arena *scratch = proto_arena_new(0);
    size_t before = fault_count(f->faults), objects = f->out->count;
    bool is_json = f->name && str_has_suffix_nocase(str_from(f->name), STR(".json"));
    const struct doc_node *root = is_json ? json_read(scratch, text, f->name, f->faults)
                                          : yaml_read_from(scratch, text, line, f->name, f->faults);
    bool whole = fault_count(f->faults) == before;
    if (root)
        read_document(f, root);
    while (!whole && f->out->count > objects)
        object_unref(&f->out->items[--f->out->count]);
    proto_arena_free(&scratch);
}

void object_read_all(struct str text, const char *file, unsigned flags, struct object_list *out, struct err_list *faults)
{
    struct file f = {file, flags, out, faults};
    struct yaml_cut cut = {text, 1};
    struct str document;
    uint32_t line;
    if (file && str_has_suffix_nocase(str_from(file), STR(".json"))) {
        read_text(&f, text, 1);
        return;
    }
    while (yaml_cut_next(&cut, &document, &line))
        read_text(&f, document, line);
}
