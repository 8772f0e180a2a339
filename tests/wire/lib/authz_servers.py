# SPDX-License-Identifier: Apache-2.0
"""An authorization service over gRPC (envoy.service.auth.v3). The HTTP one is an origin (lib/origin.py) like any other."""
import grpc
from envoy.service.auth.v3 import external_auth_pb2
from google.protobuf.json_format import ParseDict

from lib.grpc_services import Service, as_dict


class Authorization(Service):
    """`answer` is a CheckResponse as a dictionary, or bytes (not a message at all), or a function of the request that gives
    one; a grpc.StatusCode fails the call."""

    def __init__(self, answer=None):
        self.answer = answer or {}
        super().__init__()

    def handlers(self):
        return grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", {
            "Check": grpc.unary_unary_rpc_method_handler(
                self.check, external_auth_pb2.CheckRequest.FromString,
                lambda m: m if isinstance(m, bytes) else m.SerializeToString())})

    def check(self, request, context):
        self.note_call(context)
        self.note(request)
        self.open.wait(60)
        answer = self.answer(as_dict(request)) if callable(self.answer) else self.answer
        if isinstance(answer, grpc.StatusCode):
            context.abort(answer, "as told")
        return answer if isinstance(answer, bytes) else ParseDict(answer, external_auth_pb2.CheckResponse())
