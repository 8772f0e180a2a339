# SPDX-License-Identifier: Apache-2.0
"""echo, direct_response, connection_limit, local_ratelimit, sni_cluster and set_filter_state of connections, beside Envoy."""
import pytest

from lib import config
from lib.pairs import Two
from lib.streams import Closed, connect
from lib.tcp import TcpServer
from lib.wait import wait_until

N = "extensions.filters.network."


def network_filter(name, **fields):
    type_name = {"echo": "echo.v3.Echo", "direct_response": "direct_response.v3.Config", "sni_cluster": "sni_cluster.v3.SniCluster",
                 "connection_limit": "connection_limit.v3.ConnectionLimit", "set_filter_state": "set_filter_state.v3.Config",
                 "local_ratelimit": "local_ratelimit.v3.LocalRateLimit"}[name]
    return {"name": "envoy.filters.network." + name, "typed_config": {"@type": config.TYPE + N + type_name, **fields}}


ECHO = network_filter("echo")


@pytest.fixture
def start_two(start_proxy):
    def start(*listeners, clusters=(), **more):
        return Two(start_proxy, config.bootstrap(listeners, clusters, **more))
    return start


def say(proxy, data=b"hello", listener="tcp", tls=None, name=None):
    """What comes back, or why nothing did."""
    try:
        with connect(proxy.address(listener), tls, name) as stream:
            stream.send(data)
            return stream.read_exact(len(data))
    except (Closed, OSError):
        return "closed"


def test_echo_says_what_it_hears(start_two):
    two = start_two(config.listener("tcp", ECHO))
    two.same(say)
    assert two.same(lambda p: say(p, b"x" * 3000000)) == b"x" * 3000000


def test_direct_response_says_one_thing(start_two):
    two = start_two(config.listener("tcp", network_filter("direct_response", response={"inline_string": "go away\n"})),
                    config.listener("none", network_filter("direct_response")))

    def hear(proxy, listener):
        with connect(proxy.address(listener)) as stream:
            return stream.read_to_end()
    assert two.same(lambda p: hear(p, "tcp")) == b"go away\n"
    assert two.same(lambda p: hear(p, "none")) == b""
    for proxy in (two.envoy, two.weft):
        wait_until(lambda p=proxy: not any(p.stats(r"^listener\.1.*downstream_cx_active$").values()), "all connections gone")


@pytest.mark.parametrize("delay", [None, "0.2s"])
def test_connections_are_limited(start_two, delay):
    limit = network_filter("connection_limit", stat_prefix="lim", max_connections=2, **({"delay": delay} if delay else {}))
    two = start_two(config.listener("tcp", limit, ECHO))
    for proxy in (two.envoy, two.weft):
        with connect(proxy.address("tcp")) as first, connect(proxy.address("tcp")) as second:
            for stream in (first, second):
                stream.send(b"a")
                assert stream.read_exact(1) == b"a"
            assert say(proxy) == "closed"
            proxy.wait_stat("connection_limit.lim.active_connections", 2)
        proxy.wait_stat("connection_limit.lim.active_connections", 0)
        assert say(proxy) == b"hello"
        proxy.wait_stat("connection_limit.lim.active_connections", 0)
    two.same_stats("connection_limit")


def test_a_limit_may_be_off(start_two):
    limit = network_filter("connection_limit", stat_prefix="lim", max_connections=1,
                           runtime_enabled={"default_value": False, "runtime_key": "limit"})
    two = start_two(config.listener("tcp", limit, ECHO))
    for proxy in (two.envoy, two.weft):
        with connect(proxy.address("tcp")):
            assert say(proxy) == b"hello"


def test_connections_take_tokens(start_two):
    def limited(prefix, tokens, **more):
        return network_filter("local_ratelimit", stat_prefix=prefix, token_bucket={
            "max_tokens": tokens, "tokens_per_fill": 1, "fill_interval": "1000s"}, **more)
    two = start_two(
        config.listener("own", limited("own", 2), ECHO),
        config.listener("one", limited("one", 3, share_key="k"), ECHO), config.listener("two", limited("two", 3, share_key="k"), ECHO),
        config.listener("off", limited("off", 1, runtime_enabled={"default_value": False, "runtime_key": "limit"}), ECHO))
    for listener in "own own own one two one two one off off".split():
        two.same(lambda p, name=listener: say(p, listener=name))
    assert two.same_stats("local_rate_limit")


def test_the_name_of_tls_is_the_cluster(start_two, ca, started):
    leaf = ca.issue("server", ["DNS:*.local"])
    servers = {name: TcpServer(lambda s, n=name: s.send(n.encode())) for name in ("a.local", "b.local", "default")}
    for server in servers.values():
        started.add(server, server.close)
    two = start_two(
        config.listener("tcp", network_filter("sni_cluster"), config.tcp_proxy("default"), tls=config.server_tls(leaf),
                        listener_filters=[{"name": "envoy.filters.listener.tls_inspector", "typed_config": {
                            "@type": config.TYPE + "extensions.filters.listener.tls_inspector.v3.TlsInspector"}}]),
        clusters=[config.cluster(name, server.port) for name, server in servers.items()])

    def hear(proxy, name):
        try:
            with connect(proxy.address("tcp"), ca.client_context(), name) as stream:
                return stream.read_to_end()
        except (Closed, OSError):
            return b""  # closed before or after TLS was through
    for name in ("a.local", "b.local", "unknown.local", None):
        two.same(lambda p, n=name: hear(p, n))
    two.same_stats(r"tcp.tcp.downstream_cx_(total|no_route)")


def test_connections_leave_filter_state(start_two, started, tmp_path, start_proxy):
    server = TcpServer(lambda s: s.send(b"chosen"))
    started.add(server, server.close)
    values = [{"object_key": "envoy.tcp_proxy.cluster", "format_string": {"text_format_source": {"inline_string": "chosen"}}},
              {"object_key": "my.key", "factory_key": "envoy.string",
               "format_string": {"text_format_source": {"inline_string": "from %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}}]
    lines = []
    from lib.proxy import envoy, log_lines, weft  # pylint: disable=import-outside-toplevel
    for binary in filter(None, (envoy(), weft())):
        path = tmp_path / str(len(lines))
        log = config.file_log(path, text_format="%FILTER_STATE(my.key:PLAIN)% %UPSTREAM_CLUSTER%\n")
        proxy = start_proxy(config.bootstrap(
            [config.listener("tcp", network_filter("set_filter_state", on_new_connection=values),
                             config.tcp_proxy("default", access_log=[log]))],
            [config.cluster("default"), config.cluster("chosen", server.port)]), binary=binary)
        with connect(proxy.address("tcp")) as stream:
            assert stream.read_to_end() == b"chosen"
        lines.append(log_lines(path, 1))
    assert all(line == ["from 127.0.0.1 chosen"] for line in lines)
