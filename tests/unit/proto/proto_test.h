/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of this room share: an arena and a list of faults per test, and short checks.
 */
#ifndef PROTO_TEST_H
#define PROTO_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/json.h"
#include "proto/yaml.h"

struct fixture {
    struct proto_arena *arena;
    struct err_list faults;
    struct strbuf out;
};

static inline int fixture_setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.arena = proto_arena_new(64 << 20)};
    *state = &f;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    proto_arena_free(&f->arena);
    err_list_fini(&f->faults);
    strbuf_fini(&f->out);
    return 0;
}

/* All faults as "path: message\n" lines. */
static inline const char *faults_text(struct fixture *f)
{
    char line[ERR_MESSAGE_BYTES + ERR_PATH_BYTES + 4];
    strbuf_reset(&f->out);
    for (size_t i = 0; i < f->faults.count; i++) {
        strbuf_addz(&f->out, err_format(&f->faults.items[i], line, sizeof(line)));
        strbuf_addc(&f->out, '\n');
    }
    return f->out.p ? f->out.p : "";
}

/* Decodes; the faults must be exactly these lines ("" = none). */
static inline ProtobufCMessage *decode(struct fixture *f, const ProtobufCMessageDescriptor *desc,
                                       const char *json, const char *faults)
{
    ProtobufCMessage *msg;
    err_list_fini(&f->faults);
    f->faults = (struct err_list){0};
    int rc = json_decode(f->arena, str_from(json), desc, NULL, &msg, &f->faults);
    assert_string_equal(faults_text(f), faults);
    assert_int_equal(rc == 0, *faults == 0);
    assert_int_equal(msg != NULL, *faults == 0);
    return msg;
}

static inline const char *encode(struct fixture *f, const ProtobufCMessage *msg, unsigned flags)
{
    strbuf_reset(&f->out);
    json_encode(msg, flags, &f->out);
    return f->out.p;
}

/* JSON in, the same or another JSON out; on the way through packed bytes as well. */
static inline void round_trip(struct fixture *f, const ProtobufCMessageDescriptor *desc,
                              const char *json, const char *expected)
{
    ProtobufCMessage *msg = decode(f, desc, json, ""), *again;
    struct strbuf packed = {0};
    struct err err = {0};
    assert_string_equal(encode(f, msg, 0), expected);
    proto_pack(msg, &packed);
    assert_int_equal(proto_unpack(f->arena, desc, strbuf_str(&packed), &again, &err), 0);
    assert_true(proto_equal(msg, again));
    assert_string_equal(encode(f, again, 0), expected);
    strbuf_fini(&packed);
}

#define PROTO_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

#endif
