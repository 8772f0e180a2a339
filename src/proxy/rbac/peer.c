/* SPDX-License-Identifier: Apache-2.0
 *
 * What rules are asked about, taken from an exchange or a connection. The one place where a peer's identity comes from: the
 * certificate that the handshake verified; header fields that speak of one (x-forwarded-client-cert) are never believed.
 * On the connection's worker.
 */
#include "http/codec/uri.h"
#include "io/conn.h"
#include "io/tls.h"
#include "proxy/rbac/rbac.h"

static void read_peer(struct rbac_peer *p, struct tls_session *tls)
{
    const struct tls_cert_facts *facts;
    p->is_tls = true;
    if (!tls_session_peer_validated(tls) || !(facts = tls_session_peer(tls)))
        return;
    *p = (struct rbac_peer){true, true, facts->uri_sans, facts->dns_sans, facts->ip_sans, facts->email_sans, facts->subject};
}

/* Of a request that nobody sent. */
static void suppose_peer(struct rbac_input *in, const struct stream_info *info)
{
    in->supposed[0] = info->supposed_principal;
    in->peer.is_tls = info->supposed_tls;
    if (!info->supposed_principal.n)
        return;
    in->peer.is_verified = true;
    in->peer.uri_sans = in->supposed;
    in->peer.subject = STR("");
}

void rbac_input_init(struct rbac_input *in, const struct headers *h, const struct stream_info *info, bool wants_peer)
{
    struct conn *conn = info->downstream;
    struct tls_session *tls = wants_peer && conn ? conn_tls(conn) : NULL;
    *in = (struct rbac_input){
        .headers = h,
        .info = info,
        .connection_remote = conn ? conn_remote(conn) : info->downstream_direct_remote,
    };
    if (tls)
        read_peer(&in->peer, tls);
    else if (!conn && wants_peer)
        suppose_peer(in, info);
    struct str path = h ? headers_get_id(h, HDR_PATH) : STR_NULL;
    if (path.p)
        in->path = path_without_query(path);
}
