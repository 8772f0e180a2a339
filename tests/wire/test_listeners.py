# SPDX-License-Identifier: Apache-2.0
"""Listeners: sockets of every kind, listener filters, chain choice, limits, draining, and what is refused."""
import json
import os
import signal
import socket
import struct

import pytest

from lib import config, http1
from lib.http1 import read_response, request_bytes
from lib.proxy import log_lines, run_to_end
from lib.streams import connect
from lib.wait import wait_until

TYPE = config.TYPE + "extensions.filters.listener."
TLS_INSPECTOR = {"name": "envoy.filters.listener.tls_inspector",
                 "typed_config": {"@type": TYPE + "tls_inspector.v3.TlsInspector"}}
HTTP_INSPECTOR = {"name": "envoy.filters.listener.http_inspector",
                  "typed_config": {"@type": TYPE + "http_inspector.v3.HttpInspector"}}


def proxy_protocol(**fields):
    return {"name": "envoy.filters.listener.proxy_protocol",
            "typed_config": {"@type": TYPE + "proxy_protocol.v3.ProxyProtocol", **fields}}


def answering(text):
    """An HTTP connection manager that answers by itself: which chain was it?"""
    return config.hcm(routes=[{"match": {"prefix": "/"}, "direct_response": {
        "status": 200, "body": {"inline_string": text}}}], stat_prefix=text)


def chain(text, match=None, tls=None):
    made = {"name": text, "filters": [answering(text)]}
    if match:
        made["filter_chain_match"] = match
    if tls:
        made["transport_socket"] = config.downstream_tls(tls)
    return made


def listener(*chains, name="http", address=None, **more):
    return {"name": name, "address": address or config.socket_address(), "stat_prefix": name,
            "filter_chains": list(chains), **more}


def get(address, **options):
    return http1.fetch(address, "GET", "/", **options)


def prefix(name="http"):
    return f"listener.{name}."


# ---- sockets ----

def test_unix_socket__path_and_mode(start_proxy, tmp_path):
    path = str(tmp_path / "sock")
    proxy = start_proxy(config.bootstrap([listener(chain("u"), address={"pipe": {"path": path, "mode": 0o600}})]))
    assert get(path).body == b"u"
    assert os.stat(path).st_mode & 0o777 == 0o600
    proxy.stop()


def test_unix_socket__abstract(start_proxy):
    name = "@weft-wire-test-%d" % os.getpid()
    start_proxy(config.bootstrap([listener(chain("u"), address={"pipe": {"path": name}})]))
    assert get("\0" + name[1:]).body == b"u"


def test_additional_addresses__all_serve(start_proxy):
    proxy = start_proxy(config.bootstrap([listener(
        chain("a"), additional_addresses=[{"address": config.socket_address("127.0.0.2")}])]))
    statuses = json.loads(proxy.admin("/listeners?format=json").body)["listener_statuses"]
    extra = statuses[0]["additional_local_addresses"][0]["socket_address"]
    assert get(proxy.address()).body == b"a"
    assert get((extra["address"], extra["port_value"])).body == b"a"


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_dual_stack__one_listener_takes_both(start_proxy):
    address = config.socket_address("::")
    address["socket_address"]["ipv4_compat"] = True
    proxy = start_proxy(config.bootstrap([listener(chain("d"), address=address)]))
    assert get(("127.0.0.1", proxy.ports["http"])).body == b"d"
    assert get(("::1", proxy.ports["http"])).body == b"d"


def test_port_in_use__refused_with_listener_and_address(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        boot = config.bootstrap([listener(chain("x"), name="mine", address=config.socket_address(port=port))])
        path = tmp_path / "boot.json"
        path.write_text(json.dumps(boot))
        code, output = run_to_end(["-c", str(path)])
    assert code == 1
    assert "mine" in output and f"127.0.0.1:{port}" in output and "already in use" in output


@pytest.mark.parametrize("fields", [{}, {"enable_reuse_port": False},
                                    {"connection_balance_config": {"exact_balance": {}}}],
                         ids=["reuse_port", "shared", "exact"])
def test_many_workers__all_ways_of_sharing_serve(start_proxy, fields):
    proxy = start_proxy(config.bootstrap([listener(chain("w"), **fields)]), concurrency=3)
    streams = [connect(proxy.address()) for _ in range(60)]
    for stream in streams:
        stream.send(request_bytes())
        assert read_response(stream).body == b"w"
    stats = proxy.stats()
    if fields.get("connection_balance_config"):
        assert [stats[prefix() + f"worker_{i}.downstream_cx_active"] for i in range(3)] == [20, 20, 20]
    assert stats[prefix() + "downstream_cx_active"] == 60
    for stream in streams:
        stream.close()
    proxy.wait_stat(prefix() + "downstream_cx_active", 0)
    assert proxy.stat(prefix() + "downstream_cx_total") == 60


# ---- limits ----

def test_listener_connection_limit__refused_and_counted(start_proxy):
    boot = config.bootstrap([listener(chain("l"))], layered_runtime={"layers": [{"name": "static", "static_layer": {
        "envoy.resource_limits.listener.http.connection_limit": 2}}]})
    proxy = start_proxy(boot)
    with connect(proxy.address()) as one, connect(proxy.address()) as two:
        for stream in (one, two):
            stream.send(request_bytes())
            assert read_response(stream).status == 200
        with connect(proxy.address()) as three:
            assert three.is_ended()
        proxy.wait_stat(prefix() + "downstream_cx_overflow", 1)
    proxy.wait_stat(prefix() + "downstream_cx_active", 0)
    assert get(proxy.address()).status == 200


def test_out_of_descriptors__others_untouched_and_accepting_goes_on(start_proxy):
    proxy = start_proxy(config.bootstrap([listener(chain("e"))]), descriptors=60)
    held = []
    first = connect(proxy.address())
    for _ in range(80):
        held.append(connect(proxy.address()))
    first.send(request_bytes())
    assert read_response(first).body == b"e"
    for stream in held:
        stream.close()
    first.close()
    wait_until(lambda: get(proxy.address()).status == 200, "accepting to go on")


# ---- choosing the chain ----

def test_sni__chooses_chain_and_certificate(start_proxy, ca):
    a, b = ca.issue("a", sans=["DNS:a.test"]), ca.issue("b", sans=["DNS:b.test", "DNS:x.b.test"])
    proxy = start_proxy(config.bootstrap([listener(
        chain("a", {"server_names": ["a.test"]}, config.server_tls(a)),
        chain("b", {"server_names": ["*.b.test", "b.test"]}, config.server_tls(b)),
        listener_filters=[TLS_INSPECTOR])]))
    for name, body in (("a.test", b"a"), ("b.test", b"b"), ("A.TEST", b"a"), ("x.b.test", b"b")):
        assert get(proxy.address(), tls=ca.client_context(), server_name=name).body == body
    proxy.wait_stat("tls_inspector.sni_found", 4)
    with pytest.raises(OSError):
        connect(proxy.address(), tls=ca.client_context(), server_name="other.test")
    proxy.wait_stat(prefix() + "no_filter_chain_match", 1)


def test_tls_inspector__clear_and_tls_on_one_port(start_proxy, ca):
    leaf = ca.issue("a", sans=["DNS:a.test"])
    proxy = start_proxy(config.bootstrap([listener(
        chain("tls", {"transport_protocol": "tls"}, config.server_tls(leaf)),
        chain("raw", {"transport_protocol": "raw_buffer"}),
        listener_filters=[TLS_INSPECTOR])]))
    assert get(proxy.address()).body == b"raw"
    assert get(proxy.address(), tls=ca.client_context(), server_name="a.test").body == b"tls"
    stats = proxy.stats("tls_inspector")
    assert stats["tls_inspector.tls_found"] == 1 and stats["tls_inspector.tls_not_found"] == 1


def test_tls_inspector__one_byte_at_a_time(start_proxy):
    proxy = start_proxy(config.bootstrap([listener(
        chain("raw", {"transport_protocol": "raw_buffer"}), listener_filters=[TLS_INSPECTOR])]))
    with connect(proxy.address()) as stream:
        stream.send_bytewise(request_bytes())
        assert read_response(stream).body == b"raw"


def test_http_inspector__chooses_by_protocol(start_proxy):
    proxy = start_proxy(config.bootstrap([listener(
        chain("h1", {"application_protocols": ["http/1.1"]}), chain("rest"), listener_filters=[HTTP_INSPECTOR])]))
    assert get(proxy.address()).body == b"h1"
    with connect(proxy.address()) as stream:
        stream.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        assert stream.read_exact(9)[3:4] == b"\4"  # SETTINGS
    stats = proxy.stats("http_inspector")
    assert stats["http_inspector.http11_found"] == 1 and stats["http_inspector.http2_found"] == 1


@pytest.mark.parametrize("with_sni", [True, False])
def test_tls_inspector__names_with_nul_bytes__harmless(start_proxy, with_sni):
    """A ClientHello that no library would send: SNI and ALPN of NULs."""
    def field(kind, body):
        return struct.pack("!HH", kind, len(body)) + body
    sni = field(0, struct.pack("!HBH", 7, 0, 4) + b"a\0b\0") if with_sni else b""
    alpn = field(16, struct.pack("!HB", 5, 4) + b"\0\0x\0")
    hello = b"\3\3" + b"\7" * 32 + b"\0" + b"\0\2\x13\1" + b"\1\0" + struct.pack("!H", len(sni + alpn)) + sni + alpn
    body = b"\1" + struct.pack("!I", len(hello))[1:] + hello
    proxy = start_proxy(config.bootstrap([listener(
        chain("raw", {"transport_protocol": "raw_buffer"}), listener_filters=[TLS_INSPECTOR])]))
    with connect(proxy.address()) as stream:
        stream.send(b"\x16\3\1" + struct.pack("!H", len(body)) + body)
        stream.read_to_end()
    assert get(proxy.address()).body == b"raw"


def test_no_chain_matches__closed_and_logged(start_proxy, tmp_path):
    log = tmp_path / "access"
    proxy = start_proxy(config.bootstrap([listener(
        chain("never", {"server_names": ["nobody.test"]}),
        access_log=[config.file_log(log, text_format="%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n")])]))
    with connect(proxy.address()) as stream:
        assert stream.is_ended()
    assert log_lines(log, 1) == ["NR filter_chain_not_found"]


def test_default_chain__takes_the_rest(start_proxy):
    proxy = start_proxy(config.bootstrap([listener(
        chain("never", {"server_names": ["nobody.test"]}), default_filter_chain=chain("default"))]))
    assert get(proxy.address()).body == b"default"


def test_same_match_twice__refused_naming_both(tmp_path):
    boot = config.bootstrap([listener(chain("one", {"server_names": ["a"]}), chain("two", {"server_names": ["a"]}))])
    path = tmp_path / "boot.json"
    path.write_text(json.dumps(boot))
    code, output = run_to_end(["-c", str(path), "--mode", "validate"])
    assert code == 1
    assert "one" in output and "two" in output


# ---- listener filters' limits ----

def test_listener_filters_timeout__closed_and_counted(start_proxy):
    proxy = start_proxy(config.bootstrap([listener(
        chain("x"), listener_filters=[TLS_INSPECTOR], listener_filters_timeout="0.2s")]))
    with connect(proxy.address()) as stream:
        assert stream.is_ended()
    proxy.wait_stat(prefix() + "downstream_pre_cx_timeout", 1)
    proxy.wait_stat(prefix() + "downstream_pre_cx_active", 0)


def test_listener_filters_timeout__continue(start_proxy):
    proxy = start_proxy(config.bootstrap([listener(
        chain("late"), listener_filters=[TLS_INSPECTOR], listener_filters_timeout="0.2s",
        continue_on_listener_filters_timeout=True)]))
    with connect(proxy.address()) as stream:
        proxy.wait_stat(prefix() + "downstream_pre_cx_timeout", 1)
        stream.send(request_bytes())
        assert read_response(stream).body == b"late"


def test_listener_filter__peer_leaves__counted(start_proxy):
    proxy = start_proxy(config.bootstrap([listener(chain("x"), listener_filters=[TLS_INSPECTOR])]))
    stream = connect(proxy.address())
    stream.send(b"\x16\x03")
    stream.close()
    proxy.wait_stat(prefix() + "downstream_listener_filter_remote_close", 1)
    proxy.wait_stat(prefix() + "downstream_pre_cx_active", 0)


def test_listener_filter__peer_resets__counted(start_proxy):
    proxy = start_proxy(config.bootstrap([listener(chain("x"), listener_filters=[TLS_INSPECTOR])]))
    stream = connect(proxy.address())
    proxy.wait_stat(prefix() + "downstream_pre_cx_active", 1)
    stream.reset()
    proxy.wait_stat(prefix() + "downstream_listener_filter_error", 1)
    proxy.wait_stat(prefix() + "downstream_pre_cx_active", 0)


def test_transport_socket_connect_timeout__closed_and_counted(start_proxy, ca):
    leaf = ca.issue("a", sans=["DNS:a.test"])
    made = chain("x", tls=config.server_tls(leaf))
    made["transport_socket_connect_timeout"] = "0.2s"
    proxy = start_proxy(config.bootstrap([listener(made)]))
    with connect(proxy.address()) as stream:
        assert stream.is_ended()
    proxy.wait_stat(prefix() + "downstream_cx_transport_socket_connect_timeout", 1)


def test_rubbish_instead_of_tls__counted_and_others_untouched(start_proxy, ca):
    leaf = ca.issue("a", sans=["DNS:a.test"])
    proxy = start_proxy(config.bootstrap([listener(chain("x", tls=config.server_tls(leaf)))]))
    with connect(proxy.address()) as stream:
        stream.send(b"GET / HTTP/1.1\r\n\r\n")
        stream.read_to_end()
    proxy.wait_stat(prefix() + "ssl.connection_error", 1)
    assert get(proxy.address(), tls=ca.client_context(), server_name="a.test").body == b"x"
    proxy.wait_stat(prefix() + "ssl.handshake", 1)


# ---- PROXY protocol ----

def v2(source, destination, tlvs=b"", command=0x21):
    body = socket.inet_aton(source[0]) + socket.inet_aton(destination[0]) + struct.pack("!HH", source[1], destination[1]) + tlvs
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([command, 0x11]) + struct.pack("!H", len(body)) + body


@pytest.mark.parametrize("header, expected", [
    (b"PROXY TCP4 9.8.7.6 5.4.3.2 1234 80\r\n", "9.8.7.6:1234"),
    (b"PROXY TCP6 fd00::9 fd00::1 1234 80\r\n", "[fd00::9]:1234"),
    (v2(("9.8.7.6", 1234), ("5.4.3.2", 80), tlvs=b"\x01\x00\x02h2"), "9.8.7.6:1234"),
    (b"PROXY UNKNOWN\r\n", "127.0.0.1:"),
    (v2(("9.8.7.6", 1234), ("5.4.3.2", 80), command=0x20), "127.0.0.1:"),
], ids=["v1-4", "v1-6", "v2", "v1-unknown", "v2-local"])
@pytest.mark.parametrize("bytewise", [False, True])
def test_proxy_protocol__address_is_the_clients(start_proxy, tmp_path, header, expected, bytewise):
    log = tmp_path / "access"
    made = listener(chain("p"), listener_filters=[proxy_protocol()],
                    access_log=[config.file_log(log, text_format="%DOWNSTREAM_REMOTE_ADDRESS%\n")])
    proxy = start_proxy(config.bootstrap([made]))
    with connect(proxy.address()) as stream:
        (stream.send_bytewise if bytewise else stream.send)(header + request_bytes())
        assert read_response(stream).body == b"p"
    assert log_lines(log, 1)[0].startswith(expected)


def test_proxy_protocol__missing__refused_unless_allowed(start_proxy):
    proxy = start_proxy(config.bootstrap([
        listener(chain("strict"), name="strict", listener_filters=[proxy_protocol()]),
        listener(chain("lax"), name="lax", listener_filters=[proxy_protocol(allow_requests_without_proxy_protocol=True)])]))
    with connect(proxy.address("strict")) as stream:
        stream.send(request_bytes())
        assert stream.is_ended()
    assert get(proxy.address("lax")).body == b"lax"
    proxy.wait_stat("proxy_proto.not_found_disallowed", 1)
    proxy.wait_stat("proxy_proto.not_found_allowed", 1)


def test_proxy_protocol__malformed__closed_and_counted(start_proxy):
    proxy = start_proxy(config.bootstrap([listener(chain("p"), listener_filters=[proxy_protocol()])]))
    for bad in (b"PROXY TCP4 nonsense\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0"):
        with connect(proxy.address()) as stream:
            stream.send(bad)
            assert stream.is_ended()
    proxy.wait_stat("proxy_proto.versions.v1.error", 1)
    proxy.wait_stat("proxy_proto.versions.v2.error", 1)
    proxy.wait_stat(prefix() + "downstream_pre_cx_active", 0)


# ---- the end ----

@pytest.mark.weft_only
def test_sigterm__idle_closed_running_finished_then_exit(start_proxy, make_origin):
    origin = make_origin()
    proxy = start_proxy(config.bootstrap([config.http_listener()], [config.cluster("origin", origin.port)]), drain_time_s=30)
    with connect(proxy.address()) as idle, connect(proxy.address()) as busy:
        idle.send(request_bytes())
        assert read_response(idle).status == 200
        busy.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        wait_until(lambda: proxy.stat("http.in.downstream_rq_active") >= 1, "the request to arrive")
        proxy.signal(signal.SIGTERM)
        assert idle.is_ended()
        wait_until(lambda: not can_connect(proxy.address()), "the listener to close")
        busy.send(b"cd")
        answer = read_response(busy)
        assert answer.status == 200 and answer.get("connection") == "close"
        assert busy.is_ended()
        assert proxy.wait_exit() == 0


def can_connect(address):
    try:
        connect(address).close()
        return True
    except OSError:
        return False


@pytest.mark.weft_only
def test_sigterm__drain_time_ends_what_will_not_end(start_proxy, make_origin):
    origin = make_origin()
    proxy = start_proxy(config.bootstrap([config.http_listener()], [config.cluster("origin", origin.port)]), drain_time_s=1)
    with connect(proxy.address()) as stuck:
        stuck.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        wait_until(lambda: proxy.stat("http.in.downstream_rq_active") >= 1, "the request to arrive")
        proxy.signal(signal.SIGTERM)
        assert proxy.wait_exit() == 0


@pytest.mark.weft_only
def test_sigterm__twice__exits_at_once(start_proxy, make_origin):
    origin = make_origin()
    proxy = start_proxy(config.bootstrap([config.http_listener()], [config.cluster("origin", origin.port)]), drain_time_s=600)
    with connect(proxy.address()) as stuck:
        stuck.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        wait_until(lambda: proxy.stat("http.in.downstream_rq_active") >= 1, "the request to arrive")
        proxy.signal(signal.SIGTERM)
        wait_until(lambda: not can_connect(proxy.address()), "draining to begin")
        proxy.signal(signal.SIGTERM)
        assert proxy.wait_exit() == 0


def test_sighup__ignored(start_proxy):
    proxy = start_proxy(config.bootstrap([listener(chain("x"))]))
    proxy.signal(signal.SIGHUP)
    assert get(proxy.address()).body == b"x"


@pytest.mark.weft_only
def test_drain_listeners__graceful__keeps_serving_then_closes(start_proxy):
    proxy = start_proxy(config.bootstrap([listener(chain("x"))]), drain_time_s=1)
    with connect(proxy.address()) as stream:
        stream.send(request_bytes())
        assert read_response(stream).status == 200
        assert proxy.admin("/drain_listeners?graceful", "POST").status == 200
        assert stream.is_ended()
    wait_until(lambda: not can_connect(proxy.address()), "the listener to close")
    proxy.wait_stat("listener_manager.listener_stopped", 1)
    assert proxy.admin("/ready").status in (200, 503)


@pytest.mark.weft_only
def test_drain_listeners__at_once__closes_sockets_and_leaves_connections(start_proxy):
    proxy = start_proxy(config.bootstrap([listener(chain("x"))]))
    with connect(proxy.address()) as stream:
        stream.send(request_bytes())
        assert read_response(stream).status == 200
        assert proxy.admin("/drain_listeners", "POST").status == 200
        wait_until(lambda: not can_connect(proxy.address()), "the listener to close")
        stream.send(request_bytes())
        assert read_response(stream).status == 200


@pytest.mark.weft_only
def test_global_connection_limit__refused_and_counted(start_proxy):
    boot = config.bootstrap([listener(chain("l"))], layered_runtime={"layers": [{"name": "static", "static_layer": {
        "overload": {"global_downstream_max_connections": 1}}}]})
    proxy = start_proxy(boot)
    with connect(proxy.address()) as one:
        one.send(request_bytes())
        assert read_response(one).status == 200
        with connect(proxy.address()) as two:
            assert two.is_ended()
        proxy.wait_stat(prefix() + "downstream_global_cx_overflow", 1)


def test_certificate_expiry__days_are_shown(start_proxy, ca):
    leaf = ca.issue("a", sans=["DNS:a.test"], days=10)
    proxy = start_proxy(config.bootstrap([listener(chain("x", tls=config.server_tls(leaf)))]))
    wait_until(lambda: proxy.stat("server.days_until_first_cert_expiring") in (9, 10), "the days to be counted")
