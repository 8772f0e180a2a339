# SPDX-License-Identifier: Apache-2.0
"""The sidecar's DNS proxy (ISTIO_META_DNS_CAPTURE): names of the mesh, upstream resolvers, the cache, and what goes wrong."""
import json
import os
import select
import socket
import struct
import time

import pytest

from lib import config, istiod
from lib.ads_server import resources_of
from lib.dns import A, AAAA, NOERROR, NXDOMAIN, SERVFAIL
from lib.dns_client import CNAME, FORMERR, NOTIMP, OPT, REFUSED, TXT, Answer, TcpClient, name_table, query, udp_socket, wire_name
from lib.named import MESH, Named
from lib.sidecar import Sidecar, pod
from lib.wait import wait_until
from test_original_dst import can_divert, run_inside

pytestmark = pytest.mark.weft_only

@pytest.fixture
def named(started, tmp_path):
    return Named(started, tmp_path)


# ---- names of the mesh ----

def test_names_of_the_mesh_by_every_form(named):
    named.start()
    for name in ("reviews.bookinfo.svc.cluster.local", "reviews.bookinfo.svc", "reviews.bookinfo", "reviews", "ReViews.BookInfo"):
        answer = named.ask(name)
        assert answer.rcode == NOERROR and answer.is_authority
        assert answer.questions == [(name, A)]
        assert answer.answers == [(name, A, 30, "10.96.1.1")], name
    assert named.ask("upper.example.com").addresses() == ["240.240.0.4"]


def test_short_names_are_those_of_the_pods_namespace(named):
    named.upstream()
    named.start()
    assert sorted(named.ask("db.foo").addresses()) == ["10.96.2.1", "10.96.2.2"]
    assert named.ask("db").rcode == NXDOMAIN


def test_families_are_split_and_an_empty_one_is_no_error(named):
    named.start()
    assert named.ask("db.foo", AAAA).addresses(AAAA) == ["fd00::2"]
    for name, kind in (("reviews", AAAA), ("six.foo", A)):
        answer = named.ask(name, kind)
        assert answer.rcode == NOERROR and answer.answers == [] and answer.is_authority
    assert named.ask("six.foo", AAAA).addresses(AAAA) == ["fd00::6"]


def test_addresses_take_turns(named):
    named.start()
    first = {named.ask("db.foo").addresses()[0] for _ in range(64)}
    assert first == {"10.96.2.1", "10.96.2.2"}


def test_the_search_domain_is_answered_with_an_alias(named):
    named.start()
    answer = named.ask("api.example.com.bookinfo.svc.cluster.local")
    assert answer.answers == [("api.example.com.bookinfo.svc.cluster.local", CNAME, 30, "api.example.com"),
                              ("api.example.com", A, 30, "240.240.0.1")]
    assert named.ask("api.example.com.bookinfo.svc.cluster.local", AAAA).answers == []
    assert named.ask("db.foo.bookinfo.svc.cluster.local").answers[0][1] == CNAME


def test_a_whole_name_is_not_completed(named):
    """What has the search domain already goes upstream with another one behind it, as do other search domains."""
    upstream = named.upstream()
    named.start()
    twice = "reviews.bookinfo.svc.cluster.local.bookinfo.svc.cluster.local"
    assert named.ask(twice).rcode == NXDOMAIN
    assert named.ask("api.example.com.svc.cluster.local").rcode == NXDOMAIN
    assert upstream.asked(twice) == 1


def test_wildcards_come_after_exact_names(named):
    upstream = named.upstream()
    named.start()
    assert named.ask("exact.wild.example.com").addresses() == ["240.240.0.3"]
    assert named.ask("any.wild.example.com").answers == [("any.wild.example.com", A, 30, "240.240.0.2")]
    assert named.ask("a.b.c.wild.example.com", AAAA).addresses(AAAA) == ["2001:2::2"]
    assert named.ask("exact.wild.example.com", AAAA).answers == []
    assert named.ask("any.wild.example.com.bookinfo.svc.cluster.local").answers == [
        ("any.wild.example.com.bookinfo.svc.cluster.local", CNAME, 30, "any.wild.example.com"),
        ("any.wild.example.com", A, 30, "240.240.0.2")]
    assert named.ask("wild.example.com").rcode == NXDOMAIN
    assert upstream.asked("wild.example.com") == 1


def test_other_types_of_mesh_names_go_upstream(named):
    upstream = named.upstream()
    upstream.set("reviews", [])
    named.start()
    assert named.ask("reviews", TXT).rcode == NOERROR
    assert upstream.asked("reviews", TXT) == 1 and upstream.asked("reviews") == 0


def test_long_answers_are_cut_by_what_the_client_takes(named):
    named.start()
    plain = named.ask("big.example.com")
    assert plain.is_cut and len(plain.packet) <= 512 and 20 < len(plain.addresses()) < 600
    more = named.ask("big.example.com", edns=1232)
    assert more.is_cut and 512 < len(more.packet) <= 1232
    assert [kind for _, kind, _, _ in more.sections[2]] == [OPT]
    whole = named.ask("big.example.com", edns=16000)
    assert not whole.is_cut and len(whole.addresses()) == 600
    assert len(named.ask("big.example.com", edns=100).packet) <= 512
    with TcpClient(named.port) as tcp:
        assert sorted(tcp.ask("big.example.com").addresses()) == sorted(MESH["big.example.com"])
    assert named.count("cut") == 3


def test_both_loopback_addresses_serve(named):
    named.start()
    assert named.hosts[0] == "127.0.0.1"
    for host in named.hosts:
        assert named.ask("reviews", host=host).addresses() == ["10.96.1.1"]
        with TcpClient(named.port, host) as tcp:
            assert tcp.ask("reviews").addresses() == ["10.96.1.1"]


def test_the_table_changes_live(named):
    upstream = named.upstream()
    upstream.set("reviews", ["9.9.9.9"])
    named.start()
    assert named.ask("reviews").addresses() == ["10.96.1.1"]
    named.ads.set_resources("nds", {"": name_table({"new.example.com": ["240.240.1.1"]})})
    wait_until(lambda: named.ask("new.example.com").rcode == NOERROR)
    assert named.ask("reviews").addresses() == ["9.9.9.9"]


def test_a_table_that_cannot_be_read_is_refused_and_changes_nothing(named):
    named.start()
    named.ads.set_resources("nds", {"": b"\x0a\xff\x01broken"})
    assert named.ads.wait_nack("nds")
    assert named.ask("reviews").addresses() == ["10.96.1.1"]


def test_state_of_the_world_brings_it_too(named):
    named.start(ISTIO_DELTA_XDS="false")
    assert named.ask("reviews").addresses() == ["10.96.1.1"]


def test_before_the_first_table_queries_fail(named):
    upstream = named.upstream(there=["1.2.3.4"])
    named.start(table=False)
    named.ads.set_resources("cds", {})
    named.ads.set_resources("lds", {"here": config.listener("here", config.hcm(
        routes=[{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]))})
    wait_until(lambda: b"DNS proxy" in named.page("/healthz/ready").body)
    assert named.page("/healthz/ready").status == 503
    assert (named.page("/debug/ndsz").status, named.page("/debug/ndsz").body) == (404, b"{}")
    assert named.ask("reviews").rcode == SERVFAIL
    assert named.ask("there.test").rcode == SERVFAIL
    assert named.count("before_table") == 2 and not upstream.queries
    named.push()
    wait_until(lambda: named.page("/healthz/ready").status == 200)
    assert named.ask("there.test").addresses() == ["1.2.3.4"]


def test_the_table_is_shown_with_its_shorter_forms(named):
    named.start()
    page = named.page("/debug/ndsz")
    table = json.loads(page.body)["table"]
    assert page.status == 200
    assert table["db.foo.svc.cluster.local"] == {"ips": ["10.96.2.1", "10.96.2.2", "fd00::2"], "registry": "Kubernetes",
                                                 "shortname": "db", "namespace": "foo"}
    assert table["db.foo."] == {"ips": ["10.96.2.1", "10.96.2.2", "fd00::2"], "registry": "Kubernetes"}
    assert table["*.wild.example.com"]["registry"] == "External"


# ---- upstream resolvers ----

def test_what_the_mesh_does_not_know_goes_upstream(named):
    named.upstream(there=["1.2.3.4", "::9"])
    named.start()
    assert named.ask("there.test").answers == [("there.test", A, 100, "1.2.3.4")]
    assert named.ask("There.Test", AAAA).questions == [("There.Test", AAAA)]
    assert named.ask("nowhere.test").rcode == NXDOMAIN
    with TcpClient(named.port) as tcp:
        assert tcp.ask("there.test", TXT).rcode == NOERROR
    assert len(named.upstreams[0].by_tcp) == 1


def test_answers_are_kept_for_as_long_as_they_say(named):
    upstream = named.upstream(there=["1.2.3.4", "1.2.3.5"])
    named.start()
    seen = [named.ask("there.test") for _ in range(4)]
    assert upstream.asked("there.test") == 1 and named.count("cache_hits") == 3
    assert all(90 <= ttl <= 100 for answer in seen for _, _, ttl, _ in answer.answers)
    assert {answer.addresses()[0] for answer in seen} == {"1.2.3.4", "1.2.3.5"}
    assert named.ask("THERE.test").questions == [("THERE.test", A)]
    upstream.ttl = 1
    upstream.set("brief.test", ["1.1.1.1"])
    assert named.ask("brief.test").addresses() == ["1.1.1.1"]
    upstream.set("brief.test", ["2.2.2.2"])
    wait_until(lambda: named.ask("brief.test").addresses() == ["2.2.2.2"])
    upstream.ttl = 0
    upstream.set("never.test", ["1.1.1.1"])
    for _ in range(2):
        named.ask("never.test")
    assert upstream.asked("never.test") == 2


def test_what_there_is_not_is_kept_by_the_zones_word(named):
    upstream = named.upstream()
    named.start()
    for _ in range(2):
        assert named.ask("without-soa.test").rcode == NXDOMAIN
    assert upstream.asked("without-soa.test") == 2
    upstream.soa = 100
    upstream.set("only-four.test", ["1.1.1.1"])
    for _ in range(2):
        assert named.ask("with-soa.test").rcode == NXDOMAIN
        assert named.ask("only-four.test", AAAA).rcode == NOERROR
    assert upstream.asked("with-soa.test") == upstream.asked("only-four.test", AAAA) == 1


def test_queries_whose_answer_may_depend_on_options_are_passed_on(named):
    upstream = named.upstream(there=["1.2.3.4"])
    named.start()
    for _ in range(2):
        named.ask("there.test", edns=1232, options=struct.pack("!HH", 10, 8) + b"cookie!!")
    assert upstream.asked("there.test") == 2
    named.ask("there.test", edns=1232)
    named.ask("there.test")
    assert upstream.asked("there.test") == 4, "with EDNS and without are kept apart"


def test_a_silent_resolver_is_followed_by_the_next(named):
    silent, good = named.upstream(), named.upstream()
    for i in range(24):
        silent.set(f"n{i}.test", None)
        good.set(f"n{i}.test", ["1.2.3.4"])
    named.start(DNS_FORWARD_TIMEOUT="20s")
    found = {}
    with udp_socket() as sock:
        sock.connect(("127.0.0.1", named.port))
        for i in range(24):
            sock.send(query(f"n{i}.test", qid=i))
        for _ in range(24):
            answer = Answer(sock.recv(4096))
            found[answer.qid] = answer.addresses()
    assert found == {i: ["1.2.3.4"] for i in range(24)}
    assert silent.queries and named.count("upstream_next") == len(silent.queries)


def test_resolvers_that_fail_or_are_not_there_are_followed_at_once(named):
    failing, good = named.upstream(), named.upstream()
    for i in range(40):
        failing.set(f"n{i}.test", SERVFAIL)
        good.set(f"n{i}.test", ["1.2.3.4"])
    with udp_socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = nobody.getsockname()[1]
    named.start(servers=[f"127.0.0.1:{failing.port}", f"127.0.0.1:{closed}", f"127.0.0.1:{good.port}"], DNS_FORWARD_TIMEOUT="100s")
    for i in range(40):
        assert named.ask(f"n{i}.test").addresses() == ["1.2.3.4"]
    assert failing.queries


def test_what_all_refuse_is_the_answer(named):
    upstream = named.upstream(no=REFUSED)
    named.start()
    assert named.ask("no.test").rcode == REFUSED
    assert upstream.asked("no.test") == 1


def test_a_refusal_without_the_question_is_one(named):
    upstream = named.upstream(there=["1.2.3.4"])
    upstream.change = lambda answer, _: [answer[:2] + b"\x80\x01" + bytes(8)]
    named.start(DNS_FORWARD_TIMEOUT="100s")
    assert named.ask("there.test").rcode == SERVFAIL
    assert named.count("upstream_failures") == 1


def test_silence_of_all_is_a_failure_in_time(named):
    named.upstream(silent=None)
    named.start(DNS_FORWARD_TIMEOUT="300ms")
    assert named.ask("silent.test").rcode == SERVFAIL
    with TcpClient(named.port) as tcp:
        assert tcp.ask("silent.test").rcode == SERVFAIL
    assert named.count("upstream_failures") == 2 and named.count("waiting") == 0


def test_parallel_asks_all_at_once(named):
    named.upstream(n=None)
    named.upstream(n=["1.2.3.4"])
    named.start(DNS_FORWARD_PARALLEL="true", DNS_FORWARD_TIMEOUT="100s")
    for _ in range(4):
        assert named.ask("n.test", edns=1232, options=struct.pack("!HH", 10, 8) + b"cookie!!").addresses() == ["1.2.3.4"]
    wait_until(lambda: all(one.asked("n.test") == 4 for one in named.upstreams))


def test_without_resolvers_only_the_mesh_is_known(named):
    named.start(servers=[])
    assert named.ask("elsewhere.test").rcode == SERVFAIL
    assert named.ask("reviews").rcode == NOERROR


def test_answers_to_other_questions_are_ignored(named):
    upstream = named.upstream(there=["1.2.3.4"])

    def spoil(answer, _):
        other_id = bytes([answer[0] ^ 1]) + answer[1:]
        other_name = answer.replace(wire_name("there.test"), wire_name("their.test")).replace(b"\1\2\3\4", b"\6\6\6\6")
        return [other_id, other_name, answer[:2] + b"\x01\x00" + answer[4:], answer[:11], b"", b"\xff" * 40, answer]
    upstream.change = spoil
    named.start()
    assert named.ask("there.test").addresses() == ["1.2.3.4"]
    assert named.count("upstream_ignored") == 6


def test_queries_that_come_back_are_not_passed_on_again(named):
    """As rules do that divert the proxy's own queries too."""
    mirror = named.upstream()
    named.start(DNS_FORWARD_TIMEOUT="100s")

    def divert(packet):
        with udp_socket() as sock:
            sock.connect(("127.0.0.1", named.port))
            sock.send(packet)
            return sock.recv(4096)
    mirror.answer = divert
    assert named.ask("round.test").rcode == SERVFAIL
    assert named.count("loops") == 1 and named.count("upstream_requests") == 1
    assert "is its user exempt from capture?" in named.log()


def test_strangers_answers_are_not_even_received(named):
    upstream = named.upstream(there=["1.2.3.4"], here=["1.2.3.5"])
    peers = set()

    def by_a_stranger(answer, peer):
        peers.add(peer)
        with udp_socket() as stranger:
            stranger.sendto(answer.replace(b"\1\2\3", b"\6\6\6"), peer)
        return [answer]
    upstream.change = by_a_stranger
    named.start()
    assert named.ask("there.test").addresses() == ["1.2.3.4"]
    assert named.ask("here.test").addresses() == ["1.2.3.5"]
    assert len(peers) == 2, "each from a port of its own"
    assert named.count("upstream_ignored") == 0


def test_a_cut_answer_is_handed_on_and_asked_again_by_tcp(named):
    upstream = named.upstream(there=["1.2.3.4"])
    upstream.change = lambda answer, _: [answer[:2] + bytes([answer[2] | 2]) + answer[3:6] + b"\0\0" + answer[8:-16]]
    named.start()
    for _ in range(2):
        assert named.ask("there.test").is_cut
    with TcpClient(named.port) as tcp:
        assert tcp.ask("there.test").addresses() == ["1.2.3.4"]
    assert named.ask("there.test").addresses() == ["1.2.3.4"], "what came by TCP is kept for all"
    assert upstream.asked("there.test") == 3


def test_a_thousand_queries_wait_and_all_are_answered(named):
    upstream = named.upstream(**{f"n{i}": ["1.2.3.4"] for i in range(1000)})
    held = []
    upstream.change = lambda answer, peer: held.append((answer, peer)) or []
    named.start(DNS_FORWARD_TIMEOUT="100s")
    with udp_socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.connect(("127.0.0.1", named.port))
        for begin in range(0, 1000, 50):  # what a socket's buffer holds is not the question
            for i in range(begin, begin + 50):
                sock.send(query(f"n{i}.test", qid=i))
            wait_until(lambda: named.count("waiting") == begin + 50 and len(held) == begin + 50)
        assert named.ask("reviews").rcode == NOERROR, "names of the mesh don't wait"
        for answer, peer in held:
            upstream.sock.sendto(answer, peer)
        found = [Answer(sock.recv(512)) for _ in range(1000)]
    assert {(one.qid, one.questions[0][0]) for one in found} == {(i, f"n{i}.test") for i in range(1000)}
    assert named.count("waiting") == named.count("overflow") == 0


# ---- clients that aren't what they should be ----

def test_garbage_is_refused_or_dropped(named):
    named.start()
    good = query("reviews", qid=7)
    refused = {
        "no question": good[:4] + b"\0\0" + good[6:12],
        "two questions": good[:4] + b"\0\2" + good[6:] + good[12:],
        "an answer in it": good[:6] + b"\0\1" + good[8:],
        "bytes behind it": good + b"x",
        "cut short": good[:-1],
        "a label too long": good[:12] + b"\x40" + good[13:],
        "a pointer to itself": good[:12] + b"\xc0\x0c" + good[-4:],
        "an endless name": good[:12] + b"\x3f" + b"a" * 63 + b"\x3f" + b"a" * 63 + b"\x3f" + b"a" * 63 + b"\x3f" + b"a" * 63 + b"\0" + good[-4:],
        "two OPT": query("reviews", edns=1232)[:11] + b"\2" + query("reviews", edns=1232)[12:] + query("reviews", edns=1232)[-11:],
    }
    for what, packet in refused.items():
        with udp_socket() as sock:
            sock.connect(("127.0.0.1", named.port))
            sock.send(packet)
            answer = Answer(sock.recv(512))
            assert (answer.rcode, answer.qid) == (FORMERR, struct.unpack("!H", packet[:2])[0]), what
    assert named.ask("reviews", flags=0x2800).rcode == NOTIMP
    with udp_socket() as sock:
        sock.connect(("127.0.0.1", named.port))
        for packet in (b"", b"x", good[:11], good[:2] + b"\x81" + good[3:], b"\xff" * 5000):
            sock.send(packet)
        sock.send(good)
        assert Answer(sock.recv(512)).addresses() == ["10.96.1.1"], "what is no query hears nothing"
    assert named.count("malformed") == len(refused) + 1 + 5
    bad_version = query("reviews", edns=1232)
    bad_version = bad_version[:-5] + b"\1" + bad_version[-4:]
    with udp_socket() as sock:
        sock.connect(("127.0.0.1", named.port))
        sock.send(bad_version)
        assert Answer(sock.recv(512)).sections[2][0][2] >> 24 == 1, "BADVERS"


def test_tcp_queries_may_come_at_once_and_in_pieces(named):
    named.upstream(slow=None, there=["1.2.3.4"])
    named.start(DNS_FORWARD_TIMEOUT="100s")
    with TcpClient(named.port) as tcp:
        tcp.send(query("slow.test", qid=1), query("there.test", qid=2), query("reviews", qid=3))
        assert {tcp.receive().qid, tcp.receive().qid} == {2, 3}
        packet = struct.pack("!H", len(query("db.foo", qid=4))) + query("db.foo", qid=4)
        for i in range(len(packet)):
            tcp.sock.sendall(packet[i:i + 1])
        assert tcp.receive().qid == 4
        assert named.count("waiting") == 1
        tcp.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset: it's gone for good
    wait_until(lambda: named.count("waiting") == 0 and named.count("tcp_active") == 0)


def test_more_tcp_queries_than_may_wait_take_turns(named):
    named.upstream(**{f"n{i}": ["1.2.3.4"] for i in range(200)})
    named.start()
    with TcpClient(named.port) as tcp:
        tcp.send(*[query(f"n{i}.test", qid=i) for i in range(200)])
        assert {tcp.receive().qid for _ in range(200)} == set(range(200))
    with TcpClient(named.port) as tcp:
        tcp.send(*[query(f"m{i}.test", qid=i) for i in range(33)], b"junk")
        with pytest.raises((EOFError, ConnectionResetError)):
            while True:
                tcp.receive()
    wait_until(lambda: named.count("tcp_active") == 0 and named.count("waiting") == 0)
    assert named.ask("reviews").rcode == NOERROR


def test_tcp_answers_come_after_the_client_has_said_all(named):
    named.upstream(there=["1.2.3.4"])
    named.start()
    with TcpClient(named.port) as tcp:
        tcp.send(query("there.test"))
        tcp.sock.shutdown(socket.SHUT_WR)
        assert tcp.receive().addresses() == ["1.2.3.4"]
        with pytest.raises(EOFError):
            tcp.exactly(1)


def test_tcp_clients_are_few_and_must_speak(named):
    named.start()
    with TcpClient(named.port) as tcp:
        tcp.sock.sendall(b"\xff\xff" + b"x" * 100)
        with pytest.raises((EOFError, ConnectionResetError)):
            tcp.exactly(1)
    begin = time.monotonic()
    silent = [TcpClient(named.port) for _ in range(256)]
    wait_until(lambda: named.count("tcp_active") == 256)
    with TcpClient(named.port) as tcp, pytest.raises((EOFError, ConnectionResetError)):
        tcp.exactly(1)
    assert named.count("tcp_overflow") == 1
    assert named.ask("reviews").rcode == NOERROR
    ready, _, _ = select.select([silent[0].sock], [], [], 30)
    assert ready and silent[0].sock.recv(1) == b"" and time.monotonic() - begin > 9, "idle ones are closed after 10 s"
    wait_until(lambda: named.count("tcp_active") == 0)
    for one in silent:
        one.sock.close()


def test_a_tcp_client_that_takes_nothing_is_not_read_on(named):
    named.start()
    with TcpClient(named.port) as tcp:
        packet = query("big.example.com")
        framed = struct.pack("!H", len(packet)) + packet
        tcp.sock.settimeout(1)
        with pytest.raises(TimeoutError):
            while True:
                tcp.sock.sendall(framed * 100)
        tcp.sock.settimeout(30)
        assert len(tcp.receive().addresses()) == 600
        before = named.count("requests")
        assert before < 20000


# ---- around it ----

@pytest.mark.skipif(not can_divert(), reason="no network namespace of our own here")
def test_applications_are_diverted_to_it(tmp_path):
    run_inside("dns.py", tmp_path)


def test_a_gateway_has_it_when_asked_by_name(named):
    named.start(role="router", ISTIO_META_DNS_CAPTURE="false", ISTIO_META_ENABLE_DNS_SERVER="true")
    assert named.ask("api.example.com").addresses() == ["240.240.0.1"]


def test_at_all_addresses_answers_come_from_the_one_that_was_asked(named):
    named.start(DNS_PROXY_ADDR="0.0.0.0:0")
    for host in ("127.0.0.1", "127.0.0.7"):
        assert named.ask("reviews", host=host).addresses() == ["10.96.1.1"]


def test_metrics_bear_pilot_agents_names(named):
    named.upstream(there=["1.2.3.4"], silent=None)
    named.start(DNS_FORWARD_TIMEOUT="200ms")
    for name in ("reviews", "there.test", "there.test", "silent.test"):
        named.ask(name)
    text = named.page("/stats/prometheus").body.decode()
    for line in ("istio_agent_dns_requests_total 4", "istio_agent_dns_upstream_requests_total 2",
                 "istio_agent_dns_upstream_failures_total 1", "istio_agent_dns_upstream_request_duration_seconds_count 2",
                 'istio_agent_dns_upstream_request_duration_seconds_bucket{le="5"} 2'):
        assert f"\n{line}\n" in text, line


def test_without_capture_nobody_listens_or_asks(named):
    named.ads.release("nds")
    known = pod(named.directory, proxy_config={"discoveryAddress": f"127.0.0.1:{named.ads.port}"}, CA_PROVIDER="none")
    sidecar = Sidecar(named.directory, known)
    named.started.add(sidecar, sidecar.stop)
    named.ads.wait_request("cds")
    named.ads.wait_request("lds")
    with named.ads.lock:
        assert not [one for one in named.ads.requests if one.kind == "nds"]
    assert "agent.dns.requests" not in sidecar.stats()


def test_a_port_that_is_taken_is_named(named):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        known = pod(named.directory, CA_PROVIDER="none", ISTIO_META_DNS_CAPTURE="true",
                    DNS_PROXY_ADDR=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(AssertionError):
            Sidecar(named.directory, known)
    with open(os.path.join(named.directory, "stderr"), encoding="utf-8") as log:
        assert "DNS_PROXY_ADDR: cannot bind" in log.read()


@pytest.mark.skipif(not istiod.folder(), reason="the recordings of a real istiod aren't at hand")
def test_what_a_real_istiod_sent(named):
    path = os.path.join(istiod.folder(), "dns-capture", "sleep-0")
    named.ads.set_resources("nds", resources_of(istiod.turns(path, "nds")[0], False))
    with open(os.path.join(path, "nds.json"), encoding="utf-8") as text:
        table = json.load(text)[0]["table"]
    named.start(POD_NAMESPACE="foo", args=("--domain", "foo.svc.cluster.local"))
    assert table
    for host, info in table.items():
        forms = [host]
        if info.get("shortname"):
            forms += [f"{info['shortname']}.{info['namespace']}", f"{info['shortname']}.{info['namespace']}.svc"]
            forms += [info["shortname"]] if info["namespace"] == "foo" else []
        for form in forms:
            asked = form.replace("*", "any")
            assert sorted(named.ask(asked).addresses()) == sorted(ip for ip in info["ips"] if ":" not in ip), form
            assert sorted(named.ask(asked, AAAA).addresses(AAAA)) == sorted(ip for ip in info["ips"] if ":" in ip), form
