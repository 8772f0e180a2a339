/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking at claims without their library's header. Read only: any thread.
 */
#include <jansson.h>

#include "pki/jwt.h"

enum claim_kind claim_kind(const struct json_t *j)
{
    if (!j)
        return CLAIM_NULL;
    switch (json_typeof(j)) {
    case JSON_TRUE:
    case JSON_FALSE:
        return CLAIM_BOOL;
    case JSON_INTEGER:
        return CLAIM_INTEGER;
    case JSON_REAL:
        return CLAIM_NUMBER;
    case JSON_STRING:
        return CLAIM_TEXT;
    case JSON_ARRAY:
        return CLAIM_LIST;
    case JSON_OBJECT:
        return CLAIM_OBJECT;
    default:
        return CLAIM_NULL;
    }
}

bool claim_bool(const struct json_t *j)
{
    return json_is_true(j);
}

int64_t claim_integer(const struct json_t *j)
{
    return json_integer_value(j);
}

double claim_number(const struct json_t *j)
{
    return json_number_value(j);
}

struct str claim_text(const struct json_t *j)
{
    return json_is_string(j) ? str_make(json_string_value(j), json_string_length(j)) : STR_NULL;
}

size_t claim_size(const struct json_t *j)
{
    return json_is_array(j) ? json_array_size(j) : json_is_object(j) ? json_object_size(j) : 0;
}

const struct json_t *claim_at(const struct json_t *list, size_t i)
{
    return json_array_get(list, i);
}

bool claim_next(const struct json_t *object, void **at, struct str *name, const struct json_t **value)
{
    json_t *o = (json_t *)(uintptr_t)object;
    *at = *at ? json_object_iter_next(o, *at) : json_object_iter(o);
    if (!*at)
        return false;
    *name = str_from(json_object_iter_key(*at));
    *value = json_object_iter_value(*at);
    return true;
}

const struct json_t *claim_member(const struct json_t *object, struct str name)
{
    void *at = NULL;
    struct str key;
    const struct json_t *value;
    while (json_is_object(object) && claim_next(object, &at, &key, &value))
        if (str_eq(key, name))
            return value;
    return NULL;
}

struct str claim_json(const struct json_t *j, struct arena *a)
{
    size_t flags = JSON_COMPACT | JSON_ENCODE_ANY, n = json_dumpb(j, NULL, 0, flags);
    char *text = n ? arena_bytes(a, n) : NULL;
    if (!text || json_dumpb(j, text, n, flags) != n)
        return STR_NULL;
    return str_make(text, n);
}

struct json_t *claims_parse(struct str text)
{
    json_error_t error;
    json_t *j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(j))
        return j;
    json_decref(j);
    return NULL;
}

void claims_free(struct json_t **j)
{
    json_decref(*j);
    *j = NULL;
}
