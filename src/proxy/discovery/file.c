/* SPDX-License-Identifier: Apache-2.0
 *
 * A channel that is a file: a DiscoveryResponse as JSON, YAML or packed, by its extension. Read at the start and whenever the file is
 * replaced, or its directory changes where one is named (Kubernetes swaps a symlink there). A file that can't be read or isn't such
 * a message leaves what is in force. Reads block: files are local. Main thread.
 */
#include "base/log.h"
#include "base/mem.h"
#include "io/file_watch.h"
#include "proto/yaml.h"
#include "proxy/discovery/discovery_priv.h"

struct file {
    struct channel *channel;
    struct file_watch *watch;
    struct turn_task first; /* subscribers aren't told from inside discovery_subscribe */
    char *path;
};

/* Answers are for servers. */
static void file_pump(void *carrier)
{
    struct file *f = carrier;
    struct strbuf unsent = {0};
    while (xds_client_next(f->channel->client, &unsent))
        ;
    strbuf_fini(&unsent);
}

static bool load(const struct file *f, struct strbuf *out)
{
    struct proto_arena *arena = proto_arena_new(0);
    struct err_list faults = {0};
    ProtobufCMessage *m = NULL;
    const struct doc_node *root;
    char line[ERR_PATH_BYTES + ERR_MESSAGE_BYTES + 2];
    const ProtobufCMessageDescriptor *desc = proto_type_find(STR("envoy.service.discovery.v3.DiscoveryResponse"));
    int rc = proto_load_file(arena, f->path, desc, &m, &root, &faults);
    for (size_t i = 0; i < faults.count; i++)
        LOG(CONFIG, WARNING, "filesystem config update failure: %s", err_format(&faults.items[i], line, sizeof line));
    bool is_good = rc == 0 && m && !faults.count;
    if (is_good)
        proto_pack(m, out);
    err_list_fini(&faults);
    proto_arena_free(&arena);
    return is_good;
}

static void refresh(struct file *f)
{
    struct strbuf packed = {0};
    if (!load(f, &packed)) {
        strbuf_fini(&packed);
        channel_failed(f->channel);
        return;
    }
    if (channel_feed(f->channel, strbuf_str(&packed)) == XDS_BROKEN)
        channel_failed(f->channel);
    strbuf_fini(&packed);
    file_pump(f);
}

static void on_change(void *user, const char *path)
{
    (void)path;
    refresh(user);
}

static void on_start(struct turn_task *t)
{
    struct file *f = CONTAINER_OF(t, file, first);
    xds_client_connected(f->channel->client);
    refresh(f);
}

static void *file_start(struct channel *c)
{
    struct file *f = NEW(file);
    f->channel = c;
    f->path = mem_strndup(c->source->path.p, c->source->path.n);
    char *watched = c->source->watched_dir.n ? mem_strndup(c->source->watched_dir.p, c->source->watched_dir.n) : NULL;
    f->watch = file_watch_add(discovery.server->files, watched ? watched : f->path, on_change, f);
    mem_free(watched);
    f->first.run = on_start;
    loop_at_turn_end(discovery.server->main_loop, &f->first);
    return f;
}

static void file_stop(void *carrier)
{
    struct file *f = carrier;
    turn_task_cancel(&f->first);
    file_watch_del(f->watch);
    mem_free(f->path);
    mem_free(f);
}

const struct carrier file_carrier = {file_start, file_stop, file_pump};
