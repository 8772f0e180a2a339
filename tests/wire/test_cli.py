# SPDX-License-Identifier: Apache-2.0
"""What the command line's flags do, seen from outside; those refused are in test_bad_input.py."""
import json
import re
import signal

import pytest

from lib import config, http1
from lib.http1 import connect, read_response, request_bytes
from lib.proxy import run_to_end
from lib.wait import wait_until

weft_only = pytest.mark.weft_only


def simple(port, **more):
    return config.bootstrap([config.http_listener()], [config.cluster("origin", port)], **more)


def server_options(proxy):
    return json.loads(proxy.admin("/server_info").body)["command_line_options"]


def written(tmp_path, bootstrap):
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(bootstrap), encoding="utf-8")
    return str(path)


def test_config_yaml__merged_over_the_file(start_proxy, origin):
    """Messages are merged, single values replaced, lists appended to (Envoy's MergeFrom)."""
    bootstrap = simple(origin.port, node={"id": "of the file", "cluster": "kept"})
    extra = {"node": {"id": "of the flag"}, "static_resources": {
        "listeners": [config.http_listener("second")]}}
    proxy = start_proxy(bootstrap, args=["--config-yaml", json.dumps(extra)])
    node = json.loads(proxy.admin("/server_info").body)["node"]
    assert (node["id"], node["cluster"]) == ("of the flag", "kept")
    for name in ("http", "second"):
        assert http1.fetch(proxy.address(name)).body == b"hello"


def test_service_flags__override_the_node(start_proxy, origin):
    proxy = start_proxy(simple(origin.port, node={"id": "i", "cluster": "c"}),
                        args=["--service-node", "I", "--service-cluster", "C", "--service-zone", "Z"])
    node = json.loads(proxy.admin("/server_info").body)["node"]
    assert (node["id"], node["cluster"], node["locality"]["zone"]) == ("I", "C", "Z")


def test_base_id__two_instances_with_the_same_one_and_with_others(start_proxy, origin):
    first = start_proxy(simple(origin.port), args=["--base-id", "7"])
    second = start_proxy(simple(origin.port), args=["--base-id", "8"])
    assert (server_options(first)["base_id"], server_options(second)["base_id"]) == ("7", "8") \
        or (server_options(first)["base_id"], server_options(second)["base_id"]) == (7, 8)


def test_log_path_and_format__lines_are_there_and_look_so(start_proxy, origin, tmp_path):
    path = tmp_path / "own.log"
    proxy = start_proxy(simple(origin.port), args=["--log-path", str(path), "-l", "info",
                                                   "--log-format", "<%l|%n> %v"])
    wait_until(lambda: path.exists() and path.read_text(encoding="utf-8").count("\n") > 0, "a line of the log")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert all(re.match(r"<(info|warning)\|\w+> .", line) for line in lines), lines
    assert "<info|" not in proxy.stderr()


def test_admin_address_path__holds_the_bound_address(start_proxy, origin):
    proxy = start_proxy(simple(origin.port))
    with open(proxy.admin_path, encoding="ascii") as text:
        assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", text.read().strip())


@pytest.mark.parametrize("count", [1, 3])
def test_concurrency__so_many_workers(start_proxy, origin, count):
    proxy = start_proxy(simple(origin.port), concurrency=count)
    assert proxy.stat("server.concurrency") == count
    assert server_options(proxy)["concurrency"] == count


@weft_only
def test_drain_time__is_how_long_a_stuck_request_holds_the_end(start_proxy, make_origin):
    origin = make_origin(default=lambda stream, _request: stream.read_to_end() and None)
    proxy = start_proxy(simple(origin.port), drain_time_s=1)
    with connect(proxy.address()) as stream:
        stream.send(request_bytes())
        origin.wait_for(1)
        proxy.signal(signal.SIGTERM)
        assert proxy.wait_exit() == 0


def test_mode_init_only__comes_up_and_exits(tmp_path):
    code, output = run_to_end(["-c", written(tmp_path, simple(1)), "--mode", "init_only",
                               "--disable-hot-restart", "-l", "warning"])
    assert code == 0, output


def test_mode_validate__opens_no_port(tmp_path, origin):
    """The port is taken: whoever would bind it, fails."""
    bootstrap = simple(origin.port)
    bootstrap["static_resources"]["listeners"][0]["address"] = config.socket_address(port=origin.port)
    bootstrap["admin"]["address"] = config.socket_address(port=origin.port)
    code, output = run_to_end(["-c", written(tmp_path, bootstrap), "--mode", "validate"])
    assert code == 0, output
