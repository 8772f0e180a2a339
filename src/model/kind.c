/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of kinds and its look-ups. Any thread.
 */
#include "model/kind.h"

#include "base/nearest.h"

static const struct kind kinds[KIND_COUNT] = {
#define X(id_, kind_, plural_, group_, versions_, shape_, namespaced_, message_)                                                    \
    [KIND_##id_] = {.id = KIND_##id_,                                                                                               \
                    .name = kind_,                                                                                                  \
                    .plural = plural_,                                                                                              \
                    .group = group_,                                                                                                \
                    .versions = versions_,                                                                                          \
                    .message = message_,                                                                                            \
                    .shape = shape_,                                                                                                \
                    .is_namespaced = namespaced_},
    MODEL_KINDS(X)
#undef X
};

const struct kind *kind_of(enum kind_id id)
{
    return &kinds[id];
}

const ProtobufCMessageDescriptor *kind_message(const struct kind *k)
{
    return proto_type_find(str_from(k->message));
}

bool kind_has_version(const struct kind *k, struct str version)
{
    struct str rest = str_from(k->versions);
    while (rest.n)
        if (str_eq(str_split(rest, ' ', &rest), version))
            return true;
    return false;
}

static const struct kind *find_named(struct str group, const char *name)
{
    for (size_t i = 0; i < KIND_COUNT; i++)
        if (str_eq(group, str_from(kinds[i].group)) && strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

/* The right name in another version or group, else a name of the group that differs little. */
static const struct kind *find_near(struct str group, struct str name)
{
    struct nearest near = {name, NULL, 0};
    const struct kind *namesake = NULL;
    for (size_t i = 0; i < KIND_COUNT; i++) {
        bool same_group = str_eq(group, str_from(kinds[i].group));
        if (same_group)
            nearest_try(&near, kinds[i].name);
        if (str_eq(name, str_from(kinds[i].name)) && (!namesake || same_group))
            namesake = &kinds[i];
    }
    return namesake || !near.name ? namesake : find_named(group, near.name);
}

const struct kind *kind_find(struct str api_version, struct str name, const struct kind **nearest)
{
    struct str version, group = str_split(api_version, '/', &version);
    *nearest = NULL;
    if (!version.p) {
        version = group;
        group = STR("");
    }
    for (size_t i = 0; i < KIND_COUNT; i++)
        if (str_eq(name, str_from(kinds[i].name)) && str_eq(group, str_from(kinds[i].group)) &&
            kind_has_version(&kinds[i], version))
            return &kinds[i];
    *nearest = find_near(group, name);
    return NULL;
}
