# SPDX-License-Identifier: Apache-2.0
"""gRPC services that a proxy calls, served by grpcio from public protos: rate limits, access logs, OpenTelemetry, metrics.

Each keeps what it was sent, as plain dictionaries, and answers by script. `hold()` makes it silent until `release()`.
"""
import threading
from concurrent import futures

import grpc
from envoy.service.accesslog.v3 import als_pb2
from envoy.service.ratelimit.v3 import rls_pb2
from google.protobuf.json_format import MessageToDict, ParseDict
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

from lib.prometheus_client import StreamMetricsMessage
from lib.wait import wait_until


def as_dict(message):
    return MessageToDict(message, preserving_proto_field_name=True)


class Service:
    """A server on a free loopback port with one method; stopped by close()."""

    def __init__(self, workers=8):
        self.lock = threading.Lock()
        self.requests = []       # messages, as dictionaries
        self.metadata = []       # of calls: {key: value}
        self.open = threading.Event()
        self.open.set()
        self.server = grpc.server(futures.ThreadPoolExecutor(workers), options=[("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers((self.handlers(),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def handlers(self):
        raise NotImplementedError

    def note_call(self, context):
        with self.lock:
            self.metadata.append({key: value for key, value in context.invocation_metadata()})

    def note(self, message):
        with self.lock:
            self.requests.append(as_dict(message))

    def hold(self):
        self.open.clear()

    def release(self):
        self.open.set()

    def take(self):
        """What came since the last look."""
        with self.lock:
            found, self.requests = self.requests, []
        return found

    def wait_requests(self, count):
        wait_until(lambda: len(self.requests) >= count, f"{count} messages at the service")
        return self.requests

    def close(self):
        self.release()
        self.server.stop(None).wait()


class RateLimitService(Service):
    """envoy.service.ratelimit.v3. `answer` is a RateLimitResponse as a dictionary, or a function of the request that gives
    one; a grpc.StatusCode fails the call."""

    def __init__(self, answer=None):
        self.answer = answer or {"overall_code": "OK"}
        super().__init__()

    def handlers(self):
        return grpc.method_handlers_generic_handler("envoy.service.ratelimit.v3.RateLimitService", {
            "ShouldRateLimit": grpc.unary_unary_rpc_method_handler(
                self.should_rate_limit, rls_pb2.RateLimitRequest.FromString, rls_pb2.RateLimitResponse.SerializeToString)})

    def should_rate_limit(self, request, context):
        self.note_call(context)
        self.note(request)
        self.open.wait(60)
        answer = self.answer(as_dict(request)) if callable(self.answer) else self.answer
        if isinstance(answer, grpc.StatusCode):
            context.abort(answer, "as told")
        return ParseDict(answer, rls_pb2.RateLimitResponse())


class _StreamOfLogs(Service):
    def __init__(self):
        self.streams = 0
        self.fail_next = 0       # streams to be ended with UNAVAILABLE at their first message
        super().__init__()

    def stream(self, messages, context):
        self.note_call(context)
        with self.lock:
            self.streams += 1
        for message in messages:
            self.open.wait(60)
            with self.lock:
                fails = self.fail_next > 0
                self.fail_next -= fails
            if fails:
                context.abort(grpc.StatusCode.UNAVAILABLE, "as told")
            self.note(message)
        return als_pb2.StreamAccessLogsResponse()


class AccessLogService(_StreamOfLogs):
    """envoy.service.accesslog.v3."""

    def handlers(self):
        return grpc.method_handlers_generic_handler("envoy.service.accesslog.v3.AccessLogService", {
            "StreamAccessLogs": grpc.stream_unary_rpc_method_handler(
                self.stream, als_pb2.StreamAccessLogsMessage.FromString, als_pb2.StreamAccessLogsResponse.SerializeToString)})

    def entries(self):
        """Log entries of all messages, HTTP or TCP."""
        with self.lock:
            messages = list(self.requests)
        return [entry for m in messages for kind in ("http_logs", "tcp_logs") for entry in m.get(kind, {}).get("log_entry", [])]

    def wait_entries(self, count):
        wait_until(lambda: len(self.entries()) >= count, f"{count} log entries")
        return self.entries()


class OtelLogs(Service):
    """opentelemetry.proto.collector.logs.v1."""

    def handlers(self):
        return grpc.method_handlers_generic_handler("opentelemetry.proto.collector.logs.v1.LogsService", {
            "Export": grpc.unary_unary_rpc_method_handler(
                self.export, logs_service_pb2.ExportLogsServiceRequest.FromString,
                logs_service_pb2.ExportLogsServiceResponse.SerializeToString)})

    def export(self, request, context):
        self.note_call(context)
        self.note(request)
        self.open.wait(60)
        return logs_service_pb2.ExportLogsServiceResponse()


class MetricsService(Service):
    """envoy.service.metrics.v3. Messages are kept as they are: dictionaries of all metrics would cost too much."""

    def __init__(self):
        self.streams = 0
        self.messages = []
        super().__init__()

    def handlers(self):
        return grpc.method_handlers_generic_handler("envoy.service.metrics.v3.MetricsService", {
            "StreamMetrics": grpc.stream_unary_rpc_method_handler(self.stream, StreamMetricsMessage.FromString, lambda b: b)})

    def stream(self, messages, context):
        self.note_call(context)
        with self.lock:
            self.streams += 1
        for message in messages:
            self.open.wait(60)
            with self.lock:
                self.messages.append(message)
        return b""

    def families(self, name):
        with self.lock:
            return [family for message in self.messages for family in message.envoy_metrics if family.name == name]


class OtelMetrics(Service):
    """opentelemetry.proto.collector.metrics.v1. Requests are kept as they are."""

    def __init__(self):
        self.exports = []
        super().__init__()

    def handlers(self):
        return grpc.method_handlers_generic_handler("opentelemetry.proto.collector.metrics.v1.MetricsService", {
            "Export": grpc.unary_unary_rpc_method_handler(
                self.export, metrics_service_pb2.ExportMetricsServiceRequest.FromString,
                metrics_service_pb2.ExportMetricsServiceResponse.SerializeToString)})

    def export(self, request, context):
        self.note_call(context)
        with self.lock:
            self.exports.append(request)
        self.open.wait(60)
        return metrics_service_pb2.ExportMetricsServiceResponse()

    def metrics(self, name):
        with self.lock:
            # Field 2, whose name has changed since: scope_metrics.
            return [metric for export in self.exports for resource in export.resource_metrics
                    for scope in resource.instrumentation_library_metrics for metric in scope.metrics if metric.name == name]


class HealthService(Service):
    """grpc.health.v1.Health/Check. `asked`: the names of services, one a call."""

    def __init__(self):
        self.is_serving = True
        self.asked = []
        super().__init__()

    def handlers(self):
        check = grpc.unary_unary_rpc_method_handler(self.check)
        return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check})

    def check(self, request, context):
        """HealthCheckRequest{service = 1} -> HealthCheckResponse{status = 1}"""
        self.note_call(context)
        self.asked.append(request[2:].decode())
        return b"\x08\x01" if self.is_serving else b"\x08\x02"
