/* SPDX-License-Identifier: Apache-2.0
 *
 * Both ends of the protocol against each other: a client and a server of this room, with queues between them, in a world that
 * changes. Whatever the schedule, once nothing is under way the client has what the server has, as far as it wants it.
 */
#include <stdlib.h>

#include "base/rng.h"
#include "world.h"
#include "xds/client.h"

#define TYPES 3 /* not the namespaced one */
static const struct xds_type client_types[TYPES] = {
    {"envoy.config.cluster.v3.Cluster", 1, true, false},
    {"envoy.config.endpoint.v3.ClusterLoadAssignment", 1, false, false},
    {"envoy.config.listener.v3.Listener", 1, true, false},
};
#define LETTERS 6
#define QUEUE 16

struct queue { struct str items[QUEUE]; uint32_t count; };
struct pair {
    struct world world;
    struct talk talk;
    struct xds_client *client;
    struct queue up, down;
    char has[TYPES][LETTERS];     /* the client's; 0: nothing */
    char there[TYPES][LETTERS];   /* the world's */
    bool wants[TYPES][LETTERS], wants_all[TYPES];
    bool is_delta, refuses;
    struct rng rng;
};

static void on_update(void *user, uint32_t type, const struct xds_update *u, struct err_list *faults)
{
    struct pair *p = user;
    if (p->refuses && rng_below(&p->rng, 4) == 0) {
        err_list_addf(faults, ERR_INVALID, "", "no");
        return;
    }
    if (u->is_whole)
        memset(p->has[type], 0, LETTERS);
    for (uint32_t i = 0; i < u->count; i++) {
        int at = u->items[i].name.p[0] - 'a';
        if (p->wants_all[type] || p->wants[type][at]) /* else it crossed with the end of that */
            p->has[type][at] = u->items[i].packed.p[4];
    }
    for (uint32_t i = 0; i < u->removed_count; i++)
        p->has[type][u->removed[i].p[0] - 'a'] = 0;
}

static void push(struct queue *q, const char *p, size_t n)
{
    q->items[q->count++] = str_dup(str_make(p, n));
}

static struct str pop(struct queue *q)
{
    struct str first = q->items[0];
    memmove(q->items, q->items + 1, --q->count * sizeof *q->items);
    return first;
}

static void drop_all(struct queue *q)
{
    while (q->count) {
        struct str s = pop(q);
        str_free(&s);
    }
}

static void connect_pair(struct pair *p)
{
    drop_all(&p->up);
    drop_all(&p->down);
    if (p->talk.server)
        talk_end(&p->talk);
    talk_begin(&p->talk, &p->world, p->is_delta);
    xds_client_disconnected(p->client);
    xds_client_connected(p->client);
}

static void set_world(struct pair *p, int type)
{
    char text[LETTERS * 3 + 4];
    size_t n = 0;
    for (int part = 0; part < 2; part++) {
        for (int i = 0; i < LETTERS; i++)
            if (p->there[type][i] && ((i + p->there[type][i]) % 2 == part || type == W_EDS) && (type != W_EDS || part == 0))
                n += (size_t)snprintf(text + n, sizeof text - n, "%c%d ", 'a' + i, p->there[type][i]);
        if (part == 0)
            text[n ? n - 1 : n++] = '|';
    }
    text[n] = 0;
    world_set(&p->world, type, text);
    xds_server_touch(p->talk.server, 1u << type);
}

static void change_world(struct pair *p)
{
    int type = (int)rng_below(&p->rng, TYPES);
    for (uint64_t n = 1 + rng_below(&p->rng, 3); n-- > 0;)
        p->there[type][rng_below(&p->rng, LETTERS)] = (char)rng_below(&p->rng, 5);
    set_world(p, type);
}

static bool client_speaks(struct pair *p)
{
    struct strbuf out = {0};
    bool did = p->up.count < QUEUE && xds_client_next(p->client, &out);
    if (did)
        push(&p->up, out.p, out.n);
    strbuf_fini(&out);
    return did;
}

static bool waits(const struct pair *p, uint32_t type)
{
    struct xds_type_state state;
    xds_server_state(p->talk.server, type, &state);
    return state.is_waiting;
}

/* The client says each change at once: given up and wanted again in one breath is no change to a server. */
static void change_wish(struct pair *p)
{
    uint32_t type = (uint32_t)rng_below(&p->rng, TYPES);
    int i = (int)rng_below(&p->rng, LETTERS);
    char name[2] = {(char)('a' + i), 0};
    if (p->up.count > QUEUE - 2 * TYPES)
        return;
    while (client_speaks(p))
        ;
    /* A wildcard given up and asked for again while a response is on its way leaves a client with what it can't know to be gone. */
    if (type != W_EDS && rng_below(&p->rng, 3) == 0 && !p->up.count && !p->down.count && !waits(p, type)) {
        p->wants_all[type] = !p->wants_all[type];
        (p->wants_all[type] ? xds_client_want : xds_client_unwant)(p->client, type, STR("*"));
    } else {
        p->wants[type][i] = !p->wants[type][i];
        (p->wants[type][i] ? xds_client_want : xds_client_unwant)(p->client, type, str_from(name));
    }
    for (i = 0; i < LETTERS; i++) /* what isn't wanted is forgotten */
        if (!p->wants_all[type] && !p->wants[type][i])
            p->has[type][i] = 0;
    while (client_speaks(p))
        ;
}

static bool server_speaks(struct pair *p)
{
    struct buf out = BUF_INIT;
    bool did = p->down.count < QUEUE && xds_server_next(p->talk.server, 0, &out, &p->talk.sent);
    if (did)
        push(&p->down, (const char *)buf_pullup(&out, out.len), out.len);
    buf_fini(&out);
    return did;
}

static bool server_hears(struct pair *p)
{
    if (!p->up.count)
        return false;
    struct str s = pop(&p->up);
    assert_int_equal(xds_server_feed(p->talk.server, s, 0, &p->talk.err), 0);
    str_free(&s);
    return true;
}

static bool client_hears(struct pair *p)
{
    struct err_list faults = {0};
    if (!p->down.count)
        return false;
    struct str s = pop(&p->down);
    assert_int_not_equal(xds_client_feed(p->client, s, 0, &faults), XDS_BROKEN);
    for (size_t i = 0; i < faults.count; i++)
        assert_string_equal(faults.items[i].message, "no"); /* nothing that breaks the protocol's rules */
    err_list_fini(&faults);
    str_free(&s);
    return true;
}

static void step(struct pair *p)
{
    switch (rng_below(&p->rng, 20)) {
    case 0:
    case 1:
        change_world(p);
        break;
    case 2:
    case 3:
        change_wish(p);
        break;
    case 4:
        if (rng_below(&p->rng, 10) == 0)
            connect_pair(p);
        break;
    default:
        switch (rng_below(&p->rng, 4)) {
        case 0:
            client_speaks(p);
            break;
        case 1:
            server_speaks(p);
            break;
        case 2:
            server_hears(p);
            break;
        default:
            client_hears(p);
        }
    }
}

static void settle(struct pair *p)
{
    for (int rounds = 0; client_speaks(p) + server_hears(p) + server_speaks(p) + client_hears(p); rounds++)
        assert_in_range(rounds, 0, 1000);
}

static void check(const struct pair *p, uint64_t seed)
{
    for (int t = 0; t < TYPES; t++)
        for (int i = 0; i < LETTERS; i++) {
            char want = p->wants_all[t] || p->wants[t][i] ? p->there[t][i] : 0;
            if (!p->is_delta && t == W_EDS && !p->there[t][i])
                continue; /* that it is gone can't be said */
            if (p->has[t][i] != want)
                fail_msg("seed %llu, %s %c: has %d, should have %d", (unsigned long long)seed, world_short[t], 'a' + i, p->has[t][i], want);
        }
}

static void run(uint64_t seed, bool is_delta, bool refuses)
{
    static const struct xds_client_ops ops = {.on_update = on_update};
    const struct xds_client_opts opts = {.is_delta = is_delta, .node_on_first_message_only = true, .keep_node = STR("me"),
                                         .keep_types = client_types, .type_count = TYPES};
    struct pair p = {.is_delta = is_delta, .refuses = refuses};
    rng_seed(&p.rng, seed);
    world_init(&p.world);
    p.client = xds_client_new(&opts, &ops, &p);
    connect_pair(&p);
    for (int i = 0; i < 400; i++)
        step(&p);
    p.refuses = false;
    if (refuses) { /* what was refused stays so until it is another; that something is gone, too */
        settle(&p);
        for (int t = 0; t < TYPES; t++) {
            memset(p.there[t], 5, LETTERS);
            set_world(&p, t);
        }
    }
    settle(&p);
    check(&p, seed);
    drop_all(&p.up);
    drop_all(&p.down);
    xds_client_free(&p.client);
    talk_end(&p.talk);
    world_fini(&p.world);
}

#define SEEDS 400

static void test_converge__sotw__any_schedule(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run(seed, false, false);
}

static void test_converge__delta__any_schedule(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run(seed, true, false);
}

static void test_converge__with_nacks__after_the_next_change(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run(seed, seed & 1, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_converge__sotw__any_schedule),
        cmocka_unit_test(test_converge__delta__any_schedule),
        cmocka_unit_test(test_converge__with_nacks__after_the_next_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
