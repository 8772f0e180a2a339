# SPDX-License-Identifier: Apache-2.0
"""Access control of requests and connections beside Envoy: what rules may ask, what they leave in logs and statistics, and
whose name is believed."""
import json
import ssl

import pytest

from lib import config, http1
from lib.ca import CA
from lib.pairs import Two, chain, h1, seen
from lib.proxy import log_lines
from lib.rbac import (ANY, LOG, answers, header, network_rbac, path, per_route, policy, rbac, rules, tree, tree_input, when)
from lib.streams import Closed, connect

ECHO = {"name": "envoy.filters.network.echo", "typed_config": {"@type": config.TYPE + "extensions.filters.network.echo.v3.Echo"}}
HEADER_INPUT = "type.matcher.v3.HttpRequestHeaderMatchInput"
NETWORK_INPUT = "extensions.matching.common_inputs.network.v3."
SSL_INPUT = "extensions.matching.common_inputs.ssl.v3."


class Logged(Two):
    """Both proxies, each with an access log of its own; answers are compared together with the line that is written."""

    def __init__(self, start_proxy, directory, make_listeners, **options):
        self.paths = [directory / "envoy.json", directory / "weft.json"]
        self.counts = [0, 0]
        listeners = make_listeners([config.file_log("@log@", LOG)])
        text = json.dumps(config.bootstrap(listeners))
        boots = [json.loads(text.replace('"@log@"', json.dumps(str(p)))) for p in self.paths]
        Two.__init__(self, Starter(start_proxy, boots), None, **options)

    def line(self, proxy):
        at = 1 if proxy is self.weft else 0
        self.counts[at] += 1
        return json.loads(log_lines(self.paths[at], self.counts[at])[-1])

    def same_logged(self, ask):
        return self.same(lambda proxy: (ask(proxy), self.line(proxy)))


class Starter:
    """start_proxy that gives each of two its own bootstrap."""

    def __init__(self, start_proxy, boots):
        self.start_proxy, self.boots = start_proxy, list(boots)

    def __call__(self, _, **options):
        return self.start_proxy(self.boots.pop(0), **options)


@pytest.fixture
def start_logged(start_proxy, tmp_path):
    def start(make_listeners, **options):
        return Logged(start_proxy, tmp_path, make_listeners, **options)
    return start


def http(name, log, *filters, routes=None, tls=None, **more):
    return config.http_listener(name, stat_prefix=name, routes=routes or [answers()], http_filters=chain(*filters),
                                access_log=log, tls=tls, **more)


def fetch(proxy, listener, target="/", *headers, method="GET", host="test.local", tls=None):
    return seen(http1.fetch(proxy.address(listener), method, target, list(headers), b"", host, tls))


def statuses(two, listener, targets):
    return [two.same_logged(lambda p, t=t: fetch(p, listener, t))[0]["status"] for t in targets]


# ---- what comes of it ----

def test_policies_allow_deny_and_log(start_logged):
    """Answers, details (white space in a name becomes underscores), dynamic metadata, statistics by prefix and by policy."""
    no = policy([path(prefix="/no")])
    shadow = rules("DENY", **{"in the dark": policy([path(prefix="/ok")])})
    two = start_logged(lambda log: [
        http("allow", log, rbac(rules=rules(**{"my pol.icy\tx": policy([path(prefix="/ok")]), "z": policy([path(prefix="/okz")])}),
                                rules_stat_prefix="rp", shadow_rules_stat_prefix="sp_", shadow_rules=shadow, track_per_rule_stats=True)),
        http("deny", log, rbac(rules=rules("DENY", **{"de ny": no}))),
        http("log", log, rbac(rules=rules("LOG", a=no), shadow_rules=rules("LOG", b=no))),
        http("none", log, rbac()),
        http("nobody", log, rbac(rules={})),
        http("dark", log, rbac(shadow_rules={"action": "DENY", "policies": {"all": policy()}})),
    ])
    assert statuses(two, "allow", ["/ok", "/okz", "/no", "/"]) == ["200", "200", "403", "403"]
    assert statuses(two, "deny", ["/no", "/yes"]) == ["403", "200"]
    assert statuses(two, "log", ["/no", "/yes"]) == ["200", "200"]
    assert statuses(two, "none", ["/"]) == ["200"]
    assert statuses(two, "nobody", ["/"]) == ["403"]
    assert statuses(two, "dark", ["/"]) == ["200"]
    answer, line = two.same_logged(lambda p: fetch(p, "deny", "/no", ("content-type", "application/grpc"), method="POST"))
    assert dict(answer["headers"])["grpc-status"] == "7" and line["details"] == "rbac_access_denied_matched_policy[de_ny]"
    two.same_stats(r"rbac")


def test_a_route_has_its_own_policies(start_logged):
    own = per_route(rules=rules(own=policy([header("x-a", exact="1")])), rules_stat_prefix="pr_", shadow_rules_stat_prefix="psp_",
                    shadow_rules=rules("DENY", dark=policy()))
    routes = [answers("/own", **own), answers("/free", **per_route()), answers()]
    two = start_logged(lambda log: [http("http", log, rbac(rules=rules(top=policy([path(prefix="/top")])), rules_stat_prefix="rp"), routes=routes)])
    assert statuses(two, "http", ["/top", "/other", "/own", "/free"]) == ["200", "403", "403", "200"]
    assert two.same_logged(lambda p: fetch(p, "http", "/own", ("x-a", "1")))[0]["status"] == "200"
    two.same_stats(r"rbac")


def test_a_tree_of_matchers_decides(start_logged):
    by = tree_input(HEADER_INPUT, header_name="x-a")
    source = tree_input(NETWORK_INPUT + "SourceIPInput")
    items = [when(by, {"exact": "1"}, "allow it"), when(by, {"exact": "2"}, "deny it", "DENY"), when(by, {"prefix": "3"}, "log it", "LOG")]
    two = start_logged(lambda log: [
        http("list", log, rbac(matcher=tree(*items), shadow_matcher=tree(items[1]), track_per_rule_stats=True)),
        http("quiet", log, rbac(matcher=tree(*items[:2]))),
        http("source", log, rbac(matcher=tree(when(source, {"exact": "127.0.0.1"}, "near")))),
    ])
    for listener in ("list", "quiet"):
        got = [two.same_logged(lambda p, v=v, l=listener: fetch(p, l, "/", ("x-a", v)))[0]["status"] for v in ("1", "2", "34", "x")]
        assert got == (["200", "403", "200", "403"] if listener == "list" else ["200", "403", "403", "403"])
    assert statuses(two, "source", ["/"]) == ["200"]
    two.same_stats(r"rbac")


# ---- connections ----

def say(proxy, listener):
    try:
        with connect(proxy.address(listener)) as stream:
            stream.send(b"hello")
            return stream.read_exact(5)
    except (Closed, OSError):
        return "closed"


def test_connections_are_let_in_or_not(start_logged):
    allow, deny = rules(**{"al low": policy()}), rules("DENY", **{"de ny": policy()})
    near = policy([{"destination_ip": {"address_prefix": "127.0.0.1", "prefix_len": 32}}],
                  [{"source_ip": {"address_prefix": "127.0.0.0", "prefix_len": 8}}])

    def make(log):
        def tcp(name, **fields):
            return config.listener(name, network_rbac(**fields), ECHO, access_log=log)
        return [tcp("deny", rules=deny, shadow_rules=allow, shadow_rules_stat_prefix="s_"),
                tcp("allow", rules=allow, shadow_rules=deny, stat_prefix="np_"),
                tcp("later", rules=deny, delay_deny="0.1s"),
                tcp("log", rules=rules("LOG", lo=policy())),
                tcp("near", rules=rules(near=near), enforcement_type="CONTINUOUS", stat_prefix="near."),
                tcp("tree", matcher=tree(when(tree_input(NETWORK_INPUT + "SourceIPInput"), {"prefix": "127."}, "near")))]
    two = start_logged(make)
    wanted = {"deny": "closed", "allow": b"hello", "later": "closed", "log": b"hello", "near": b"hello", "tree": b"hello"}
    for listener, result in wanted.items():
        assert two.same_logged(lambda p, l=listener: say(p, l))[0] == result, listener
    two.same_stats(r"rbac")


# ---- who is believed ----

def client_context(ca, leaf=None):
    context = ssl.create_default_context(cafile=ca.cert)
    context.check_hostname = False
    if leaf:
        context.load_cert_chain(leaf.cert, leaf.key)
    return context


def named(**match):
    return {"authenticated": {"principal_name": match}}


def mtls(**fields):
    return {"custom": {"name": "mtls", "typed_config": {
        "@type": config.TYPE + "extensions.rbac.principals.mtls_authenticated.v3.Config", **fields}}}


def san(kind, **match):
    return mtls(san_matcher={"san_type": kind, "matcher": match})


PRINCIPALS = {
    "uri": named(exact="spiffe://cluster.local/ns/foo/sa/bar"), "dns": named(exact="foo.example"), "other": named(exact="spiffe://x/y"),
    "subject": named(exact="CN=client,O=weft test"), "space": named(safe_regex={"regex": ".*/ns/foo/.*"}), "tls": {"authenticated": {}},
    "empty": named(safe_regex={"regex": ".*"}), "not": {"not_id": named(prefix="spiffe://cluster.local/")},
    "mtls": mtls(any_validated_client_certificate=True), "san_uri": san("URI", prefix="spiffe://cluster.local/ns/foo/"),
    "san_dns": san("DNS", exact="foo.example"), "san_ip": san("IP_ADDRESS", exact="10.1.2.3"), "san_none": san("EMAIL", exact="a@b"),
}


def test_names_come_from_verified_certificates(start_logged, ca):
    server = ca.issue("server", ["DNS:test.local"])
    clients = {
        "all": ca.issue("client", ["URI:spiffe://cluster.local/ns/foo/sa/bar", "DNS:foo.example", "IP:10.1.2.3"], file_name="all"),
        "dns": ca.issue("client", ["DNS:foo.example"], file_name="dns"), "bare": ca.issue("client", file_name="bare"), "none": None,
    }
    inputs = {"tree_uri": SSL_INPUT + "UriSanInput", "tree_dns": SSL_INPUT + "DnsSanInput", "tree_subject": SSL_INPUT + "SubjectInput"}

    def make(log):
        tls = config.server_tls(server, ca=ca, require_client_certificate=False)
        made = [http(name, log, rbac(rules=rules(p=policy([ANY], [who]))), tls=tls) for name, who in PRINCIPALS.items()]
        trees = {name: tree(when(tree_input(kind), {"contains": "client" if name == "tree_subject" else "foo"}, "p")) for name, kind in inputs.items()}
        return made + [http(name, log, rbac(matcher=it), tls=tls) for name, it in trees.items()]
    two = start_logged(make)
    allowed = {}
    for client, leaf in clients.items():
        context = client_context(ca, leaf)
        for listener in [*PRINCIPALS, *inputs]:
            status = two.same_logged(lambda p, l=listener, c=context: fetch(p, l, tls=c))[0]["status"]
            allowed.setdefault(client, set()).update({listener} if status == "200" else ())
    everybody = {"tls", "empty"}
    assert allowed["none"] == everybody | {"not"}
    assert allowed["bare"] == everybody | {"not", "subject", "mtls", "tree_subject"}
    assert allowed["all"] == {*PRINCIPALS, *inputs} - {"other", "not", "san_none"}


@pytest.mark.weft_only
def test_an_unverified_certificate_has_no_name(start_proxy, ca, tmp_path):
    """Nothing checks certificates here: Envoy reads names from them all the same, weft doesn't."""
    strangers = CA(tmp_path / "strangers", "strangers")
    stranger = strangers.issue("client", ["URI:spiffe://cluster.local/ns/foo/sa/bar"])
    server = ca.issue("server", ["DNS:test.local"])
    tls = config.server_tls(server, validation={"trust_chain_verification": "ACCEPT_UNTRUSTED", "trusted_ca": {"filename": ca.cert}},
                            require_client_certificate=True)
    proxy = start_proxy(config.bootstrap([http("http", [], rbac(rules=rules(p=policy([ANY], [PRINCIPALS["uri"]]))), tls=tls)]))
    assert fetch(proxy, "http", tls=client_context(ca, stranger))["status"] == "403"
    known = ca.issue("client", ["URI:spiffe://cluster.local/ns/foo/sa/bar"])
    assert fetch(proxy, "http", tls=client_context(ca, known))["status"] == "200"
    claims = ("x-forwarded-client-cert", "By=x;URI=spiffe://cluster.local/ns/foo/sa/bar")
    assert fetch(proxy, "http", "/", claims, tls=client_context(ca, stranger))["status"] == "403"


# ---- why ----

ALLOW_EXPLAIN = {"layered_runtime": {"layers": [{"name": "static", "static_layer": {"weft.explain.allow_header": True}}]}}


def explain(proxy, **question):
    answer = http1.fetch(proxy.admin_address, "POST", "/explain", [("content-type", "application/json"), ("accept", "application/json"),
                                                                   ("connection", "close")], json.dumps(question).encode())
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


@pytest.mark.weft_only
def test_explain_tells_which_policy_decides_and_why_the_others_do_not(start_proxy, ca, tmp_path):
    web = "spiffe://cluster.local/ns/foo/sa/web"
    decided = rules(a=policy([path(prefix="/admin")], [named(exact=web)]), b=policy([header(":method", exact="GET")], [named(prefix=web)]))
    own = per_route(rules=rules("DENY", closed=policy()))
    log = config.file_log(tmp_path / "log", {"record": "%DYNAMIC_METADATA(weft.explain:record)%"})
    server = ca.issue("server", ["DNS:test.local"])
    tls = config.server_tls(server, ca=ca, require_client_certificate=False)
    proxy = start_proxy(config.bootstrap([
        http("http", [log], rbac(rules=decided), routes=[answers("/closed", **own), answers("/open", **per_route()), answers()], tls=tls)],
        **ALLOW_EXPLAIN))

    def ask(target, **more):
        said = explain(proxy, url=f"https://test.local{target}", **more)
        told = {f["name"]: f for f in said["filters"]}["envoy.filters.http.rbac"]
        return said["verdict"].get("status"), told.get("says"), said
    why_a = "policy a doesn't fit: permissions: url_path wants prefix \"/admin\", has \"/\""
    assert ask("/", principal=web)[:2] == (200, ["policy b allows", why_a])
    status, says, said = ask("/", principal=web + "2", method="POST")
    assert status == 403 and said["verdict"]["details"] == "rbac_access_denied_matched_policy[none]"
    assert says == ["no policy fits: denied", why_a, "policy b doesn't fit: permissions: header wants :method exact \"GET\", has \"POST\""]
    assert ask("/admin")[1] == ["no policy fits: denied",
                                f"policy a doesn't fit: principals: authenticated wants exact \"{web}\", has no verified certificate",
                                f"policy b doesn't fit: principals: authenticated wants prefix \"{web}\", has no verified certificate"]
    assert ask("/closed")[:2] == (403, ["policy closed denies"])
    assert ask("/open")[:2] == (200, None)
    assert not any("filters" in str(w) for w in ask("/", principal=web)[2].get("warnings", []))
    assert proxy.stats(r"rbac\.(allowed|denied)") == {"http.http.rbac.allowed": 0, "http.http.rbac.denied": 0}
    near = {"direct_remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}
    gate = network_rbac(rules=rules(near=policy([ANY], [near])))
    second = start_proxy(config.bootstrap([config.listener("gated", gate, config.hcm(routes=[answers()])), config.listener("tcp", gate, ECHO)]))
    said = explain(second, url="http://test.local/", listener="gated", source="192.0.2.1")
    assert said["verdict"]["text"] == "network filter envoy.filters.network.rbac closes the connection (rbac_access_denied_matched_policy[none])"
    assert [f["says"] for f in said["filter_chain"]["filters"]] == [
        "no policy fits: denied", "policy near doesn't fit: principals: direct_remote_ip wants 10.0.0.0/8, has 192.0.2.1"]
    said = explain(second, url="http://test.local/", listener="gated", source="10.0.0.1")
    assert said["verdict"]["status"] == 200 and said["filter_chain"]["filters"][0]["says"] == "policy near allows"
    assert "closes" in explain(second, url="http://test.local/", listener="tcp")["verdict"]["text"]
    assert fetch(proxy, "http", "/", ("x-weft-explain", "1"), tls=client_context(ca))["status"] == "403"
    record = json.loads(log_lines(tmp_path / "log", 1)[0])["record"]
    assert f"filter=envoy.filters.http.rbac: no policy fits: denied; filter=envoy.filters.http.rbac: {why_a}; " in record
    assert "filter=envoy.filters.http.rbac answered 403" in record and "details=rbac_access_denied_matched_policy[none]" in record
