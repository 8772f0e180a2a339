/* SPDX-License-Identifier: Apache-2.0
 *
 * Upstream sessions kept for resumption, a few per context, found by SNI (a context may serve many
 * clusters). Any worker puts and takes. The newest session is used first; a TLS 1.3 ticket is
 * handed out once (RFC 8446 appendix C.4), an older session as often as asked.
 */
#include "io/tls_priv.h"

#include "base/mem.h"

void tls_cache_init(struct tls_cache *c, size_t max)
{
    *c = (struct tls_cache){.max = max};
    pthread_mutex_init(&c->lock, NULL);
    if (max)
        c->entries = mem_zalloc(max * sizeof *c->entries);
}

static void entry_fini(struct tls_cache_entry *e)
{
    mem_free(e->sni);
    SSL_SESSION_free(e->session);
}

void tls_cache_fini(struct tls_cache *c)
{
    for (size_t i = 0; i < c->count; i++)
        entry_fini(&c->entries[i]);
    mem_free(c->entries);
    pthread_mutex_destroy(&c->lock);
}

void tls_cache_put(struct tls_cache *c, const char *sni, SSL_SESSION *take_session)
{
    struct tls_cache_entry old = {0}, new = {mem_strdup(sni), take_session};
    pthread_mutex_lock(&c->lock);
    if (c->count == c->max) {
        old = c->entries[0];
        memmove(c->entries, c->entries + 1, --c->count * sizeof *c->entries);
    }
    c->entries[c->count++] = new;
    pthread_mutex_unlock(&c->lock);
    entry_fini(&old);
}

SSL_SESSION *tls_cache_get(struct tls_cache *c, const char *sni)
{
    SSL_SESSION *session = NULL;
    struct tls_cache_entry used = {0};
    pthread_mutex_lock(&c->lock);
    for (size_t i = c->count; i-- > 0 && !session;) {
        if (strcmp(c->entries[i].sni, sni) != 0)
            continue;
        session = c->entries[i].session;
        if (SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION) {
            SSL_SESSION_up_ref(session);
            break;
        }
        used = c->entries[i];
        used.session = NULL;
        memmove(c->entries + i, c->entries + i + 1, (--c->count - i) * sizeof *c->entries);
    }
    pthread_mutex_unlock(&c->lock);
    entry_fini(&used);
    return session;
}
