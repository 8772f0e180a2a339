/* SPDX-License-Identifier: Apache-2.0
 *
 * kubeconfig is `v1 Config` of client-go: named clusters, users and contexts, of which the current context picks one each. One
 * table says what becomes of a field: taken, of no concern to us, or refused by name. Main thread; reads files only where it is
 * told to.
 */
#include "control/kube/config.h"

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/check.h"
#include "base/file.h"
#include "http/codec/uri.h"
#include "proto/yaml.h"

#define TEXTS_BYTES_MAX ((size_t)4 << 20)

/* What a field is. */
enum field_form {
    FIELD_TEXT,    /* a struct str */
    FIELD_PATH,    /* one that names a file, beside the kubeconfig */
    FIELD_BASE64,
    FIELD_FLAG,    /* a bool */
    FIELD_IGNORED, /* means nothing to us, or is read elsewhere */
    FIELD_REFUSED,
};
struct field {
    const char *name;
    enum field_form form;
    size_t offset;   /* in struct kube_config */
    const char *why; /* refused */
};

#define OF(member) offsetof(struct kube_config, member)

static const struct field cluster_fields[] = {
    {"server", FIELD_IGNORED, 0, NULL}, /* read_server */
    {"certificate-authority", FIELD_PATH, OF(ca.file), NULL},
    {"certificate-authority-data", FIELD_BASE64, OF(ca.text), NULL},
    {"insecure-skip-tls-verify", FIELD_FLAG, OF(skip_verify), NULL},
    {"tls-server-name", FIELD_TEXT, OF(server_name), NULL},
    {"disable-compression", FIELD_IGNORED, 0, NULL},
    {"extensions", FIELD_IGNORED, 0, NULL},
    {"proxy-url", FIELD_REFUSED, 0, "the API server must be reached directly"},
};
static const struct field user_fields[] = {
    {"client-certificate", FIELD_PATH, OF(certificate.file), NULL},
    {"client-certificate-data", FIELD_BASE64, OF(certificate.text), NULL},
    {"client-key", FIELD_PATH, OF(key.file), NULL},
    {"client-key-data", FIELD_BASE64, OF(key.text), NULL},
    {"token", FIELD_TEXT, OF(token.text), NULL},
    {"tokenFile", FIELD_PATH, OF(token.file), NULL},
    {"extensions", FIELD_IGNORED, 0, NULL},
    {"exec", FIELD_REFUSED, 0, "no programs are run for credentials; use a token, a tokenFile or a client certificate"},
    {"auth-provider", FIELD_REFUSED, 0, "Kubernetes has removed these; use a token, a tokenFile or a client certificate"},
    {"username", FIELD_REFUSED, 0, "API servers take no passwords; use a token, a tokenFile or a client certificate"},
    {"password", FIELD_REFUSED, 0, "API servers take no passwords; use a token, a tokenFile or a client certificate"},
    {"as", FIELD_REFUSED, 0, "weftd speaks for itself only"},
    {"as-uid", FIELD_REFUSED, 0, "weftd speaks for itself only"},
    {"as-groups", FIELD_REFUSED, 0, "weftd speaks for itself only"},
    {"as-user-extra", FIELD_REFUSED, 0, "weftd speaks for itself only"},
};
static const struct field context_fields[] = {
    {"cluster", FIELD_IGNORED, 0, NULL}, /* kube_config_read */
    {"user", FIELD_IGNORED, 0, NULL},
    {"namespace", FIELD_TEXT, OF(ns), NULL},
    {"extensions", FIELD_IGNORED, 0, NULL},
};

/* ---- fields ---- */

static struct str beside(struct arena *a, const char *file, struct str path)
{
    const char *slash = file ? strrchr(file, '/') : NULL;
    if (!path.n || path.p[0] == '/' || !slash)
        return arena_str(a, path);
    return arena_printf(a, "%.*s/%.*s", (int)(slash - file), file, STR_ARG(path));
}

static int take_text(struct kube_config *c, const struct field *f, const struct doc_node *node, const char *file, struct err *err)
{
    struct str *to = (struct str *)(void *)((char *)c + f->offset);
    if (node->kind == DOC_NULL)
        return 0;
    if (node->kind != DOC_STRING && !node->plain)
        return err_set(err, ERR_INVALID, "must be a text");
    if (f->form == FIELD_BASE64) {
        if (!b64_decode_in(&c->arena, node->text, to))
            return err_set(err, ERR_INVALID, "isn't base64");
    } else
        *to = f->form == FIELD_PATH ? beside(&c->arena, file, node->text) : arena_str(&c->arena, node->text);
    return 0;
}

static int take_field(struct kube_config *c, const struct field *f, const struct doc_node *node, const char *file, struct err *err)
{
    switch (f->form) {
    case FIELD_IGNORED:
        return 0;
    case FIELD_REFUSED:
        return err_set(err, ERR_UNSUPPORTED, "is not supported: %s", f->why);
    case FIELD_FLAG:
        if (node->kind != DOC_BOOL)
            return err_set(err, ERR_INVALID, "must be true or false");
        *(bool *)(void *)((char *)c + f->offset) = node->flag;
        return 0;
    case FIELD_TEXT:
    case FIELD_PATH:
    case FIELD_BASE64:
        break;
    }
    return take_text(c, f, node, file, err);
}

static int take_fields(struct kube_config *c, const struct doc_node *map, const struct field *fields, size_t n, const char *file,
                       struct err *err)
{
    for (const struct doc_node *node = map->first; node; node = node->next) {
        size_t i = 0;
        while (i < n && !str_eq(node->key, str_from(fields[i].name)))
            i++;
        int rc = i < n ? take_field(c, &fields[i], node, file, err) : err_set(err, ERR_UNSUPPORTED, "is not known");
        if (rc) {
            err_prefix(err, "%.*s", STR_ARG(node->key));
            return rc;
        }
    }
    return 0;
}

/* ---- the server ---- */

static int read_server(struct kube_config *c, struct str url, struct err *err)
{
    struct uri uri;
    int port;
    if (!url.n)
        return err_set(err, ERR_INVALID, "the cluster names no server");
    if (!uri_parse_absolute(url, &uri) || !authority_is_valid(uri.authority) || !authority_split(uri.authority, &c->host, &port))
        return err_set(err, ERR_INVALID, "server: '%.*s' is no URL", STR_ARG(url));
    c->is_tls = str_eq_nocase(uri.scheme, STR("https"));
    if (!c->is_tls && !str_eq_nocase(uri.scheme, STR("http")))
        return err_set(err, ERR_INVALID, "server: '%.*s' is neither http nor https", STR_ARG(url));
    if (c->host.n > 2 && c->host.p[0] == '[')
        c->host = str_make(c->host.p + 1, c->host.n - 2);
    c->host = arena_str(&c->arena, c->host);
    c->authority = arena_str(&c->arena, uri.authority);
    c->port = port >= 0 ? (uint16_t)port : c->is_tls ? 443 : 80;
    struct str path = path_without_query(uri.path);
    while (path.n && path.p[path.n - 1] == '/')
        path.n--;
    c->path = arena_str(&c->arena, path);
    return 0;
}

/* ---- a kubeconfig ---- */

/* The map `inner` of the item called `name` in the list `list`. */
static const struct doc_node *named(const struct doc_node *root, const char *list, struct str name, const char *inner)
{
    const struct doc_node *items = doc_member(root, str_from(list));
    for (const struct doc_node *it = items && items->kind == DOC_LIST ? items->first : NULL; it; it = it->next)
        if (str_eq(doc_text(it, STR("name")), name)) {
            const struct doc_node *found = doc_member(it, str_from(inner));
            return found && found->kind == DOC_MAP ? found : NULL;
        }
    return NULL;
}

static int read_part(struct kube_config *c, const struct doc_node *root, const char *list, struct str name, const char *inner,
                     const struct field *fields, size_t n, const char *file, const struct doc_node **out, struct err *err)
{
    *out = named(root, list, name, inner);
    if (!*out)
        return err_set(err, ERR_NOT_FOUND, "there is no %s '%.*s'", inner, STR_ARG(name));
    int rc = take_fields(c, *out, fields, n, file, err);
    if (rc)
        err_prefix(err, "%s '%.*s'", inner, STR_ARG(name));
    return rc;
}

static int check(const struct kube_config *c, struct err *err)
{
    bool has_certificate = c->certificate.text.n || c->certificate.file.n, has_key = c->key.text.n || c->key.file.n;
    if (has_certificate != has_key)
        return err_set(err, ERR_INVALID, "a client certificate and its key come together");
    if (!c->is_tls && (has_key || c->token.text.n || c->token.file.n))
        return err_set(err, ERR_INVALID, "credentials aren't sent over http");
    if (c->skip_verify && (c->ca.text.n || c->ca.file.n))
        return err_set(err, ERR_INVALID, "insecure-skip-tls-verify and a certificate-authority exclude each other");
    return c->arena.overflowed ? err_set(err, ERR_LIMIT, "its texts are longer than %zu bytes", TEXTS_BYTES_MAX) : 0;
}

static int read_root(struct kube_config *c, const struct doc_node *root, const char *file, struct err *err)
{
    const struct doc_node *context, *cluster, *user;
    struct str current = doc_text(root, STR("current-context"));
    if (!current.n)
        return err_set(err, ERR_INVALID, "there is no current-context");
    int rc = read_part(c, root, "contexts", current, "context", context_fields, ARRAY_LEN(context_fields), file, &context, err);
    if (rc == 0)
        rc = read_part(c, root, "clusters", doc_text(context, STR("cluster")), "cluster", cluster_fields, ARRAY_LEN(cluster_fields),
                       file, &cluster, err);
    if (rc == 0)
        rc = read_server(c, doc_text(cluster, STR("server")), err);
    if (rc == 0 && doc_text(context, STR("user")).n)
        rc = read_part(c, root, "users", doc_text(context, STR("user")), "user", user_fields, ARRAY_LEN(user_fields), file, &user, err);
    if (c->token.file.n)
        c->token.text = STR_NULL; /* as client-go has it: the file's is the newer one */
    return rc ? rc : check(c, err);
}

/* "FILE: user 'me'.exec" */
static void place(struct err *err, const char *file)
{
    char held[ERR_PATH_BYTES];
    memcpy(held, err->path, sizeof(held));
    err->path[0] = '\0';
    err_prefix(err, "%.200s%s%.180s", file, *held ? ": " : "", held);
}

int kube_config_read(struct kube_config *c, struct str yaml, const char *file, struct err *err)
{
    struct proto_arena *pa = proto_arena_new(0);
    struct err_list faults = {0};
    *c = (struct kube_config){0};
    arena_init(&c->arena, TEXTS_BYTES_MAX);
    const struct doc_node *root = yaml_read(pa, yaml, file, &faults);
    int rc = 0;
    if (faults.count) {
        *err = faults.items[0];
        rc = err->code;
    } else
        rc = root && root->kind == DOC_MAP ? read_root(c, root, file, err) : err_set(err, ERR_INVALID, "it holds no kubeconfig");
    if (rc && file && !faults.count)
        place(err, file);
    err_list_fini(&faults);
    proto_arena_free(&pa);
    return rc;
}

int kube_config_load(struct kube_config *c, const char *file, struct err *err)
{
    struct strbuf text = {0};
    *c = (struct kube_config){0};
    int rc = file_read(file, KUBE_CONFIG_BYTES_MAX, &text, err);
    if (rc == 0)
        rc = kube_config_read(c, text.n ? strbuf_str(&text) : STR(""), file, err);
    if (text.n)
        explicit_bzero(text.p, text.n);
    strbuf_fini(&text);
    return rc;
}

/* ---- in a pod ---- */

int kube_config_in_cluster(struct kube_config *c, const char *folder, struct err *err)
{
    struct str host = str_from(getenv("KUBERNETES_SERVICE_HOST")), port = str_from(getenv("KUBERNETES_SERVICE_PORT"));
    *c = (struct kube_config){0};
    arena_init(&c->arena, TEXTS_BYTES_MAX);
    if (!host.n || !port.n)
        return err_set(err, ERR_NOT_FOUND, "this isn't a pod of Kubernetes: KUBERNETES_SERVICE_HOST and _PORT aren't set");
    bool is_v6 = str_find_char(host, ':') >= 0;
    c->token.file = arena_printf(&c->arena, "%s/token", folder);
    c->ca.file = arena_printf(&c->arena, "%s/ca.crt", folder);
    struct str url = arena_printf(&c->arena, "https://%s%.*s%s:%.*s", is_v6 ? "[" : "", STR_ARG(host), is_v6 ? "]" : "", STR_ARG(port));
    return read_server(c, url, err);
}

void kube_config_fini(struct kube_config *c)
{
    arena_fini(&c->arena);
    *c = (struct kube_config){0};
}

int kube_secret_read(const struct kube_secret *s, struct strbuf *out, struct err *err)
{
    if (s->file.n && !s->text.n)
        return file_read(s->file.p, KUBE_SECRET_BYTES_MAX, out, err);
    if (s->text.n)
        strbuf_adds(out, s->text);
    return 0;
}
