# SPDX-License-Identifier: Apache-2.0
"""io.prometheus.client (Prometheus' metrics.proto) and Envoy's StreamMetricsMessage, made here: no package that we use has
them. Only the fields that proxies send."""
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

MESSAGES = {
    "LabelPair": ("name string 1", "value string 2"),
    "Gauge": ("value double 1",),
    "Counter": ("value double 1",),
    "Quantile": ("quantile double 1", "value double 2"),
    "Summary": ("sample_count uint64 1", "sample_sum double 2", "quantile *Quantile 3"),
    "Bucket": ("cumulative_count uint64 1", "upper_bound double 2"),
    "Histogram": ("sample_count uint64 1", "sample_sum double 2", "bucket *Bucket 3"),
    "Metric": ("label *LabelPair 1", "gauge Gauge 2", "counter Counter 3", "summary Summary 4", "timestamp_ms int64 6",
               "histogram Histogram 7"),
    "MetricFamily": ("name string 1", "help string 2", "type int32 3", "metric *Metric 4"),
    "StreamMetricsMessage": ("identifier bytes 1", "envoy_metrics *MetricFamily 2"),
}
COUNTER, GAUGE, SUMMARY, HISTOGRAM = 0, 1, 2, 4


def _make():
    field = descriptor_pb2.FieldDescriptorProto
    scalars = {"string": field.TYPE_STRING, "double": field.TYPE_DOUBLE, "uint64": field.TYPE_UINT64, "int64": field.TYPE_INT64,
               "int32": field.TYPE_INT32, "bytes": field.TYPE_BYTES}
    file = descriptor_pb2.FileDescriptorProto(name="prometheus_client.proto", package="io.prometheus.client", syntax="proto2")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields:
            field_name, kind, number = text.split()
            repeated = kind.startswith("*")
            made = message.field.add(name=field_name, number=int(number),
                                     label=field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL)
            if kind in scalars:
                made.type = scalars[kind]
            else:
                made.type, made.type_name = field.TYPE_MESSAGE, ".io.prometheus.client." + kind.lstrip("*")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("io.prometheus.client.StreamMetricsMessage"))


StreamMetricsMessage = _make()
