/* SPDX-License-Identifier: Apache-2.0
 *
 * istio.v1.auth.IstioCertificateService over gRPC: the issuer's transport.
 */
#ifndef CONTROL_CA_SERVICE_H
#define CONTROL_CA_SERVICE_H

#include "control/ca/issuer.h"
#include "http/grpc_server.h"

/* Before the server's first connection; the issuer outlives the server. */
void ca_service_serve(struct issuer *i, struct grpc_server *g);

/* What a stream shows of its caller: certificate, token, cluster. Texts are the arena's or the stream's. */
void auth_request_of(const struct grpc_stream *s, struct arena *a, struct auth_request *out);

#endif
