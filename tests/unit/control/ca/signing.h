/* SPDX-License-Identifier: Apache-2.0
 *
 * A real signer on a loop of the test's own. The test's main() must begin with SIGNER_HOOK.
 */
#ifndef SIGNING_H
#define SIGNING_H

#include "../../unit.h"

#include "base/clock.h"
#include "base/log.h"
#include "ca_files.h"
#include "control/ca/signer.h"
#include "control/ca/signer_process.h"

#define SIGNER_HOOK(argc, argv)                                                                    \
    do {                                                                                           \
        if (signer_is_asked_for(argc, argv))                                                       \
            signer_main();                                                                         \
    } while (0)

#define TURN_UNTIL(loop, condition)                                                                \
    do {                                                                                           \
        uint64_t give_up_ = clock_mono_us() + 30000000;                                            \
        while (!(condition)) {                                                                     \
            if (clock_mono_us() > give_up_)                                                        \
                fail_msg("in vain: %s", #condition);                                               \
            loop_turn(loop, 50);                                                                   \
        }                                                                                          \
    } while (0)

static struct loop *loop;
static unsigned trusts, ups, downs;
static char down_why[512];
static uint64_t signing_call_ms;

static inline void note_trust(void *user, const struct ca_trust *t)
{
    (void)user;
    assert_true(t->bundle.n > 0);
    trusts++;
}

static inline void note_state(void *user, bool is_up, const char *why)
{
    (void)user;
    ups += is_up;
    downs += !is_up;
    if (!is_up)
        snprintf(down_why, sizeof down_why, "%s", why);
}

static inline struct signer *signing_start(bool is_plugged_in, const char *path)
{
    struct signer_opts o = {
        .loop = loop, .call_ms = signing_call_ms, .on_trust = note_trust, .on_state = note_state,
        .open = {.authority = {.trust_domain = STR("cluster.local"), .key_kind = KEY_EC_P256, .root_ttl_s = 3650ll * 86400,
                               .announce_s = 86400, .max_ttl_s = 90 * 86400, .renew_pct = 20},
                 .path = str_from(path), .is_plugged_in = is_plugged_in},
    };
    return signer_new(&o);
}

static inline int signing_setup(void **state)
{
    trusts = ups = downs = 0;
    signing_call_ms = 0;
    log_set_level_all(LOG_OFF);
    loop = loop_new("test", NULL);
    return loop ? ca_folder_make(state) : -1;
}

static inline int signing_teardown(void **state)
{
    loop_turn(loop, 0);
    loop_free(&loop);
    return ca_folder_drop(state);
}

/* The only child of this process. */
static inline pid_t signing_pid(void)
{
    char path[64];
    int pid = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%d", &pid) != 1)
        pid = 0;
    if (f)
        fclose(f);
    return pid;
}

#endif
