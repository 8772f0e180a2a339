/* SPDX-License-Identifier: Apache-2.0
 *
 * Certificates out of a config dump. Those that stand in files aren't opened: they are the proxy's, maybe of another machine.
 */
#include "cli/secrets.h"

#include <time.h>

#include "base/arena.h"
#include "base/base64.h"
#include "base/check.h"
#include "base/clock.h"
#include "cli/ask.h"
#include "pki/cert.h"

#define ARENA_BYTES ((size_t)16 << 20)

static const struct shape {
    const char *field, *type, *certificates;
} shapes[] = {
    {"tls_certificate", "Cert Chain", "certificate_chain"},
    {"validation_context", "CA", "trusted_ca"},
    {"session_ticket_keys", "Ticket Keys", "keys"},
    {"generic_secret", "Generic", "secret"},
};

static void add_time(struct table *t, int64_t seconds)
{
    char text[40] = "";
    time_t at = (time_t)seconds;
    struct tm tm;
    if (gmtime_r(&at, &tm))
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    table_add(t, text);
}

static bool read_facts(const json_t *source, struct arena *a, struct cert_facts *out)
{
    struct str pem;
    const char *bytes = ask_text(source, "inline_bytes"), *text = ask_text(source, "inline_string");
    if (*text)
        pem = str_from(text);
    else if (!*bytes || !b64_decode_in(a, str_from(bytes), &pem))
        return false;
    return cert_inspect(pem, a, out, NULL) == 0;
}

static void add_certificate(struct table *t, const json_t *source)
{
    struct arena a;
    struct cert_facts facts;
    arena_init(&a, ARENA_BYTES);
    if (read_facts(source, &a, &facts)) {
        int64_t now = (int64_t)(clock_wall_us() / 1000000);
        table_add(t, facts.not_before_s <= now && now < facts.not_after_s ? "true" : "false");
        table_addf(t, "%.*s", STR_ARG(facts.serial_hex));
        add_time(t, facts.not_after_s);
        add_time(t, facts.not_before_s);
    } else {
        for (int i = 0; i < 4; i++)
            table_add(t, "");
    }
    arena_fini(&a);
}

void secrets_add_row(struct table *t, const json_t *item)
{
    const json_t *secret = ask_field(item, "secret"), *found = NULL;
    const struct shape *shape = NULL;
    for (size_t i = 0; i < ARRAY_LEN(shapes) && !found; i++) {
        shape = &shapes[i];
        found = ask_field(secret, shape->field);
    }
    table_add(t, ask_text(item, "name"));
    table_add(t, found ? shape->type : "");
    table_add(t, found ? "ACTIVE" : "WARMING");
    add_certificate(t, found ? ask_field(found, shape->certificates) : NULL);
}
