# SPDX-License-Identifier: Apache-2.0
"""Broken files end the start with every fault named; broken peers end their own connection and no other."""
import json
import os
import random
import re
import socket
import threading

import pytest

from lib import config, http1
from lib.http1 import connect, read_response, request_bytes
from lib.proxy import is_envoy, run_to_end
from lib.wait import wait_until

weft_only = pytest.mark.weft_only


def write(path, thing):
    text = thing if isinstance(thing, str) else json.dumps(thing)
    path.write_text(text, encoding="utf-8")
    return str(path)


def simple(*ports, **more):
    return config.bootstrap([config.http_listener(**more)], [config.cluster("origin", *ports)])


def validate(path, *more):
    return run_to_end(["-c", path, "--mode", "validate", *more])


def test_validate__good_file__0(tmp_path):
    code, _ = validate(write(tmp_path / "good.json", simple(1)))
    assert code == 0


def test_validate__missing_file__named(tmp_path):
    code, output = validate(str(tmp_path / "none.yaml"))
    assert code == 1
    assert "none.yaml" in output


@weft_only
def test_validate__every_fault_in_one_go(tmp_path):
    broken = simple(1)
    broken["static_resources"]["clusters"] += [
        config.cluster("negative", 1, connect_timeout="-1s"),
        config.cluster("port", 99999),
    ]
    broken["static_resources"]["listeners"].append({"name": "no address"})
    broken["static_resources"]["clusters"].append(config.cluster("magic", 1, lb_policy="MAGLEV_NOT"))
    broken["static_resources"]["listeners"][0]["unknown_field"] = 1
    code, output = validate(write(tmp_path / "broken.json", broken))
    assert code == 1
    for place in ("clusters[1]", "clusters[2]", "clusters[3].lb_policy", "listeners[1]", "listeners[0].unknown_field"):
        assert place in output, output
    assert "broken.json" in output


@weft_only
def test_validate__unknown_fields_and_values__all_with_line_and_column(tmp_path):
    broken = simple(1)
    broken["static_resources"]["clusters"].append(config.cluster("magic", 1, lb_policy="MAGLEV_NOT"))
    broken["static_resources"]["listeners"][0]["unknown_field"] = 1
    code, output = validate(write(tmp_path / "broken.json", broken))
    assert code == 1
    for place in ("clusters[1].lb_policy", "listeners[0].unknown_field", "broken.json:1:"):
        assert place in output, output


@weft_only
def test_validate__unsupported_field__path_and_allow_unsupported(tmp_path):
    one = simple(1)
    one["static_resources"]["listeners"][0]["udp_listener_config"] = {"quic_options": {}}
    path = write(tmp_path / "one.json", one)
    code, output = validate(path)
    assert code == 1
    assert "static_resources.listeners[0].udp_listener_config" in output
    code, output = validate(path, "--allow-unsupported")
    assert code == 0, output
    assert "udp_listener_config" in output


@weft_only
@pytest.mark.parametrize("text,where", [
    ("static_resources:\n  listeners: [\n  - {]\n", 3),
    ("admin:\n  address: {socket_address: {address: a\n", 3),
    ("a: b\n\tc: d\n", 1),
])
def test_yaml_errors__line_and_column(tmp_path, text, where):
    code, output = validate(write(tmp_path / "bad.yaml", text))
    assert code == 1
    assert re.search(rf"bad\.yaml:{where}:\d+: ", output), output


@pytest.mark.parametrize("fault", ["cluster", "route_cluster", "certificate", "key_mismatch", "regex", "duplicate"])
def test_faults__refused_naming_the_thing(tmp_path, ca, fault):
    leaf, other = ca.issue("one"), ca.issue("two")
    listener = config.http_listener()
    one = config.bootstrap([listener], [config.cluster("origin", 1)])
    routes = listener["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
    word = fault
    if fault == "cluster":
        del one["static_resources"]["clusters"][0]["name"]
        word = "name"
    elif fault == "route_cluster":
        routes[0]["route"]["cluster"] = word = "nowhere"
    elif fault == "certificate":
        tls = config.server_tls(leaf)
        tls["common_tls_context"]["tls_certificates"][0]["certificate_chain"]["filename"] = "/nowhere/cert.pem"
        listener["filter_chains"][0]["transport_socket"] = config.downstream_tls(tls)
        word = "/nowhere/cert.pem"
    elif fault == "key_mismatch":
        tls = config.server_tls(leaf)
        tls["common_tls_context"]["tls_certificates"][0]["private_key"]["filename"] = other.key
        listener["filter_chains"][0]["transport_socket"] = config.downstream_tls(tls)
        word = "key"
    elif fault == "regex":
        routes[0]["match"] = {"safe_regex": {"regex": "a(b"}}
        word = "regex"
    elif fault == "duplicate":
        hosts = listener["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
        hosts.append(config.virtual_host([config.route()], name="again"))
        word = "*" if not is_envoy() else "wildcard"
    code, output = validate(write(tmp_path / "one.json", one))
    assert code == 1
    assert word in output


def test_unknown_flag__refused(tmp_path):
    code, output = run_to_end(["-c", write(tmp_path / "one.json", simple(1)), "--no-such-flag"])
    assert code != 0
    assert "no-such-flag" in output


def test_version_and_help__0():
    assert run_to_end(["--version"])[0] == 0
    code, output = run_to_end(["--help"])
    assert code == 0 and "--config-path" in output


def test_port_in_use__admin__names_the_address(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        one = simple(1)
        one["admin"]["address"] = config.socket_address(port=holder.getsockname()[1])
        code, output = run_to_end(["-c", write(tmp_path / "one.json", one), "--disable-hot-restart"])
    assert code == 1
    assert str(one["admin"]["address"]["socket_address"]["port_value"]) in output


# ---- peers ----

def rubbish(stream, dice):
    stream.send(dice.randbytes(2000))
    stream.read_to_end()


def stall_in_head(stream, _dice):
    stream.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-")
    stream.fill()


def reset_in_body(stream, _dice):
    stream.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 5000)
    stream.reset()


def leave_before_answer(stream, _dice):
    stream.send(request_bytes(headers=[("x-case", "slow")]))
    stream.reset()


def endless_head(stream, _dice):
    stream.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
    for i in range(5000):
        stream.send(b"X-%d: %s\r\n" % (i, b"y" * 200))


def endless_line(stream, _dice):
    stream.send(b"GET /" + b"a" * (1 << 20))
    stream.read_to_end()


def endless_chunk_size(stream, _dice):
    stream.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"e" * (1 << 20))
    stream.read_to_end()


def pipeline_without_reading(stream, _dice):
    stream.sock.settimeout(1)
    for _ in range(2000):
        stream.send(request_bytes() * 20)


def tls_hello_to_cleartext(stream, _dice):
    stream.send(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\0" * 150)
    stream.read_to_end()


def half_preface(stream, _dice):
    stream.send(b"PRI * HTTP/2.0\r\n\r\nSM")
    stream.fill()


BAD_PEERS = [rubbish, stall_in_head, reset_in_body, leave_before_answer, endless_head, endless_line,
             endless_chunk_size, pipeline_without_reading, tls_hello_to_cleartext, half_preface]


def misbehave(address, how, seed):
    try:
        with connect(address) as stream:
            how(stream, random.Random(seed))
    except (OSError, http1.Closed):
        pass  # that the proxy ends it is what should happen


@pytest.mark.parametrize("how", BAD_PEERS, ids=lambda how: how.__name__)
def test_bad_peer__others_untouched(start_proxy, origin, how):
    proxy = start_proxy(simple(origin.port, request_headers_timeout="1s",
                               common_http_protocol_options={"idle_timeout": "5s"}))
    threads = [threading.Thread(target=misbehave, args=(proxy.address(), how, seed)) for seed in range(8)]
    with connect(proxy.address()) as good:
        for thread in threads:
            thread.start()
        for _ in range(50):
            good.send(request_bytes())
            assert read_response(good).status == 200
        for thread in threads:
            thread.join()
        good.send(request_bytes())
        assert read_response(good).status == 200
    proxy.wait_stat("http.in.downstream_cx_active", 0)
    proxy.wait_stat("http.in.downstream_rq_active", 0)


def test_out_of_descriptors__served_again_when_there_are_some(start_proxy, origin):
    proxy = start_proxy(simple(origin.port), descriptors=128)
    with connect(proxy.address()) as good:
        good.send(request_bytes())
        assert read_response(good).status == 200
        crowd = [connect(proxy.address()) for _ in range(200)]
        wait_until(lambda: proxy.descriptors() >= 120, "the descriptors to be used up")
        for _ in range(20):
            good.send(request_bytes())
            assert read_response(good).status == 200
    for stream in crowd:
        stream.close()

    def is_served():
        try:
            return http1.fetch(proxy.address()).status == 200
        except (http1.Closed, OSError):
            return False  # one connection is closed at each rest, so that its peer learns at once
    wait_until(is_served, "new connections to be served")
    proxy.wait_stat("http.in.downstream_cx_active", 0)


def test_origin_of_rubbish__502_each_time_and_the_next_cluster_works(start_proxy, make_origin):
    def random_bytes(stream):
        dice = random.Random(1)
        while http1.read_request(stream):
            stream.send(dice.randbytes(500) + b"\r\n\r\n")
    bad, good = make_origin(handler=random_bytes), make_origin()
    routes = [config.route("bad", "/bad"), config.route("good")]
    proxy = start_proxy(config.bootstrap([config.http_listener(routes=routes)],
                                         [config.cluster("bad", bad.port), config.cluster("good", good.port)]))
    for _ in range(20):
        assert http1.fetch(proxy.address(), target="/bad").status in (502, 503)
        assert http1.fetch(proxy.address()).status == 200


@weft_only
def test_log_in_a_missing_folder__named(tmp_path, ca):
    path = str(tmp_path / "nowhere" / "access.log")
    one = simple(1, access_log=[config.file_log(path)])
    code, output = run_to_end(["-c", write(tmp_path / "one.json", one), "--mode", "init_only"])
    assert code == 1
    assert os.path.dirname(path) in output
