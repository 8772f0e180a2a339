# SPDX-License-Identifier: Apache-2.0
"""Collectors of traces: OTLP over HTTP and gRPC, Zipkin v2 as JSON. Each gives spans as flat dictionaries of one shape:
name, kind, trace, id, parent, state, tags, events, error, shared."""
import json
import threading

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from lib import http1
from lib.grpc_services import Service
from lib.origin import Origin
from lib.wait import wait_until

TRACES = "opentelemetry.proto.collector.trace.v1.TraceService"


def of_otlp(span):
    return {"name": span.name, "kind": {2: "SERVER", 3: "CLIENT"}[span.kind], "trace": span.trace_id.hex(), "id": span.span_id.hex(),
            "parent": span.parent_span_id.hex(), "state": span.trace_state,
            "tags": {a.key: a.value.string_value for a in span.attributes}, "events": [e.name for e in span.events],
            "error": span.status.code == 2, "shared": None, "start": span.start_time_unix_nano, "end": span.end_time_unix_nano}


def spans_of(request):
    """Older and newer names of the same fields."""
    found = []
    for resource in request.resource_spans:
        for scope in getattr(resource, "scope_spans", None) or resource.instrumentation_library_spans:
            found += [of_otlp(span) for span in scope.spans]
    return found


def resource_of(request):
    return {a.key: a.value.string_value for a in request.resource_spans[0].resource.attributes}


class Spans:
    """What collectors share: spans so far, waited for by number."""

    def __init__(self):
        self.lock = threading.Lock()
        self.found = []
        self.resources = []

    def note(self, spans, resource=None):
        with self.lock:
            self.found += spans
            self.resources.append(resource)

    def take(self, count):
        """`count` spans: parents first, then in the order of their beginning."""
        wait_until(lambda: len(self.found) >= count, f"{count} spans at the collector")
        with self.lock:
            found, self.found = self.found, []
        assert len(found) == count, found
        return sorted(found, key=lambda s: ("router" in s["name"] or s["name"].startswith("u-"), s["kind"] != "SERVER", s["start"], s["name"]))


class HttpCollector(Spans):
    """OTLP and Zipkin over HTTP/1; `hold()` makes it silent."""

    def __init__(self):
        super().__init__()
        self.open = threading.Event()
        self.open.set()
        self.origin = Origin(default=http1.response_bytes(202, [], b""))
        self.origin.answer = self.answer
        self.port = self.origin.port

    @property
    def requests(self):
        return self.origin.requests

    def answer(self, stream, request):
        if request.get("content-type") == "application/json":
            self.note([self.of_zipkin(span) for span in json.loads(request.body)])
        elif request.start.split()[1] == "/v1/traces":
            message = trace_service_pb2.ExportTraceServiceRequest.FromString(request.body)
            self.note(spans_of(message), resource_of(message))
        self.open.wait(60)
        stream.send(self.origin.default)
        return True

    @staticmethod
    def of_zipkin(span):
        assert span["duration"] >= 0
        return {"name": span["name"], "kind": span["kind"], "trace": span["traceId"], "id": span["id"],
                "parent": span.get("parentId", ""), "state": "", "tags": span["tags"],
                "events": [a["value"] for a in span["annotations"]], "error": span["tags"].get("error") == "true",
                "shared": span.get("shared"), "endpoint": span["localEndpoint"], "start": span["timestamp"],
                "end": span["timestamp"] + span["duration"]}

    def hold(self):
        self.open.clear()

    def release(self):
        self.open.set()

    def close(self):
        self.release()
        self.origin.close()


class GrpcCollector(Service, Spans):
    def __init__(self):
        Spans.__init__(self)
        Service.__init__(self)

    def note(self, spans, resource=None):  # pylint: disable=arguments-differ
        Spans.note(self, spans, resource)

    take = Spans.take

    def handlers(self):
        return grpc.method_handlers_generic_handler(TRACES, {"Export": grpc.unary_unary_rpc_method_handler(
            self.export, trace_service_pb2.ExportTraceServiceRequest.FromString,
            trace_service_pb2.ExportTraceServiceResponse.SerializeToString)})

    def export(self, request, context):
        self.note_call(context)
        self.note(spans_of(request), resource_of(request))
        self.open.wait(60)
        return trace_service_pb2.ExportTraceServiceResponse()
