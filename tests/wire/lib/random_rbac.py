# SPDX-License-Identifier: Apache-2.0
"""Seeded random access control: policies, trees of matchers and per-route settings from small pools, so that rules meet
requests often, and requests to them. The same seed gives the same configuration and the same requests.
"""
import random

from lib import config
from lib.pairs import chain, http_filter
from lib.rbac import ANY, HTTP, answers, per_route, rbac, tree_action, tree_input

PATHS = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/b/a", "/A", "/c/%41", "/reviews/1"]
QUERIES = ["", "", "?q=1", "?a/b"]
HEADERS = ["x-one", "x-two", ":method", ":authority", "x-missing", "cookie"]
VALUES = ["red", "blue", "", "42", "-7", "redblue", "Red", "7"]
METHODS = ["GET", "POST", "PUT", "HEAD"]
HOSTS = ["test.local", "a.test.local", "Test.Local", "other.net:8080"]
REGEXES = ["re.*", "[a-z]+", "(red|blue)", ".*", "\\d+", ".+"]
NAMES = ["spiffe://cluster.local/ns/foo/sa/web", "spiffe://cluster.local/ns/bar/sa/web", "foo.example", "CN=client,O=weft test"]
NAME_REGEXES = [".*/ns/foo/.*", ".*/ns/bar/.*", "spiffe://.*/sa/web", ".*", "spiffe://cluster.local/ns/(foo|bar)/.+", ".*example", ".*/ns/foo/.*|.*CN.*"]
TEMPLATES = ["/a/*", "/**", "/a/{x}/c", "/{v=**}", "/*/a", "/reviews/{id}"]
CIDRS = [("127.0.0.1", 32), ("127.0.0.0", 8), ("10.0.0.0", 8), ("10.1.2.3", 32), ("0.0.0.0", 0), ("192.0.2.0", 24), ("::1", 128), ("2001:db8::", 32)]
FORWARDED = [None, None, "10.1.2.3", "192.0.2.9", "2001:db8::7", "10.1.2.3, 192.0.2.1"]
SPACE = "test.space"
METADATA = {"color": "red", "n": 42, "yes": True, "list": ["red", "blue"], "deep": {"er": "blue"}, "none": None}
KEYS = [["color"], ["n"], ["yes"], ["list"], ["deep", "er"], ["none"], ["missing"]]
HEADER_INPUT = "type.matcher.v3.HttpRequestHeaderMatchInput"
NETWORK_INPUT = "extensions.matching.common_inputs.network.v3."
CLIENTS = ["all", "dns", "none"]    # by the names of their certificates
REQUESTED = ["test.local", "other.local"]


class Maker:
    def __init__(self, seed, port=0):
        self.rng = random.Random(seed)
        self.port = port              # of the listener, once it is known: rules name ports near it
        self.is_tls = self.rng.random() < 0.4

    def maybe(self, chance):
        return self.rng.random() < chance

    def one(self, pool):
        return self.rng.choice(pool)

    def string(self, values, regexes=REGEXES):
        kind = self.one(["exact", "exact", "prefix", "suffix", "contains", "safe_regex"])
        if kind == "safe_regex":
            return {"safe_regex": {"regex": self.one(regexes)}}
        value = self.one(values if kind == "exact" else [v for v in values if v])
        if kind in ("prefix", "suffix", "contains") and self.maybe(0.5):
            cut = self.rng.randint(1, len(value))
            value = value[:cut] if kind == "prefix" else value[-cut:]
        return {kind: value, **({"ignore_case": True} if self.maybe(0.2) else {})}

    def header(self):
        name = self.one(HEADERS)
        pool = {":method": METHODS, ":authority": HOSTS}.get(name, VALUES)
        made = {"name": name}
        kind = self.rng.randrange(5)
        if kind == 0:
            made["present_match"] = self.maybe(0.5)
        elif kind == 1:
            made["range_match"] = {"start": self.one([-10, 0, 7]), "end": self.one([8, 43])}
        else:
            made["string_match"] = self.string(pool)
        if self.maybe(0.2):
            made["invert_match"] = True
        if self.maybe(0.2):
            made["treat_missing_header_as_empty"] = True
        return {"header": made}

    def cidr(self):
        address, bits = self.one(CIDRS)
        return {"address_prefix": address, "prefix_len": bits}

    def value(self, depth=1):
        kind = self.rng.randrange(7 if depth else 5)
        if kind == 0:
            return {"null_match": {}}
        if kind == 1:
            return {"double_match": self.one([{"exact": 42}, {"range": {"start": 0, "end": 42}}, {"range": {"start": 42, "end": 50}}])}
        if kind == 2:
            return {"bool_match": self.maybe(0.5)}
        if kind == 3:
            return {"present_match": self.maybe(0.5)}
        if kind == 4:
            return {"string_match": self.string(VALUES)}
        if kind == 5:
            return {"list_match": {"one_of": self.value(0)}}
        return {"or_match": {"value_matchers": [self.value(0), self.value(0)]}}

    def metadata(self):
        made = {"filter": self.one([SPACE, SPACE, "other"]), "path": [{"key": k} for k in self.one(KEYS)], "value": self.value()}
        if self.maybe(0.2):
            made["invert"] = True
        if self.maybe(0.3):
            return {"sourced_metadata": {"metadata_matcher": made, "metadata_source": self.one(["DYNAMIC", "ROUTE"])}}
        return {"metadata": made}

    def path(self):
        return {"url_path": {"path": self.string(PATHS, ["/a.*", "/[ab]/.*", "/.*", ".*a"])}}

    def combined(self, depth, one, set_names):
        kind = self.rng.randrange(3)
        if kind == 2:
            return {set_names[3]: one(depth - 1)}
        return {set_names[kind]: {set_names[2]: [one(depth - 1) for _ in range(self.rng.randint(1, 3))]}}

    def permission(self, depth=2):
        if depth and self.maybe(0.45):
            return self.combined(depth, self.permission, ("and_rules", "or_rules", "rules", "not_rule"))
        kind = self.rng.randrange(9)
        if kind < 2:
            return self.path()
        return [lambda: ANY, self.header, self.metadata, lambda: {"destination_ip": self.cidr()},
                lambda: {"requested_server_name": self.string(REQUESTED + [""])}, self.template, self.ports][kind - 2]()

    def ports(self):
        if self.maybe(0.5):
            return {"destination_port": self.one([80, 443])}
        return {"destination_port_range": self.one([{"start": 1, "end": 1024}, {"start": 1024, "end": 65536}])}

    def template(self):
        return {"uri_template": {"name": "t", "typed_config": {
            "@type": config.TYPE + "extensions.path.match.uri_template.v3.UriTemplateMatchConfig", "path_template": self.one(TEMPLATES)}}}

    def principal(self, depth=2):
        if depth and self.maybe(0.4):
            return self.combined(depth, self.principal, ("and_ids", "or_ids", "ids", "not_id"))
        return self.one([self.authenticated, self.authenticated, self.address, self.header, self.path, self.metadata, self.state,
                         lambda: ANY, self.mtls])()

    def authenticated(self):
        return {"authenticated": {} if self.maybe(0.1) else {"principal_name": self.string(NAMES, NAME_REGEXES)}}

    def mtls(self):
        fields = {"any_validated_client_certificate": True} if self.maybe(0.3) else {
            "san_matcher": {"san_type": self.one(["URI", "DNS", "IP_ADDRESS", "EMAIL"]), "matcher": self.string(NAMES, NAME_REGEXES)}}
        return {"custom": {"name": "m", "typed_config": {
            "@type": config.TYPE + "extensions.rbac.principals.mtls_authenticated.v3.Config", **fields}}}

    def address(self):
        return {self.one(["source_ip", "direct_remote_ip", "remote_ip"]): self.cidr()}

    def state(self):
        return {"filter_state": {"key": self.one(["test.state", "test.other"]), "string_match": self.string(VALUES)}}

    # ---- conditions ----

    def condition(self):
        awkward = ['a"b', "back\\slash", "tab\there", "ä"]
        field = self.one([("method", METHODS + awkward), ("path", PATHS), ("url_path", PATHS), ("host", HOSTS)])
        left = {"select_expr": {"operand": {"ident_expr": {"name": "request"}}, "field": field[0]}}
        text = {"const_expr": {"string_value": self.one(field[1])}}
        kind = self.rng.randrange(4)
        if kind == 0:
            return {"call_expr": {"function": self.one(["_==_", "_!=_"]), "args": [left, text]}}
        if kind == 1:
            return {"call_expr": {"target": left, "function": self.one(["startsWith", "endsWith", "contains"]), "args": [text]}}
        if kind == 2:
            return {"call_expr": {"function": "@in", "args": [left, {"list_expr": {"elements": [text, {"const_expr": {"string_value": "GET"}}]}}]}}
        headers = {"select_expr": {"operand": {"ident_expr": {"name": "request"}}, "field": "headers"}}
        value = {"call_expr": {"function": "_[_]", "args": [headers, {"const_expr": {"string_value": self.one(["x-one", "x-two"])}}]}}
        return {"call_expr": {"function": "_||_", "args": [{"call_expr": {"function": "_==_", "args": [value, {"const_expr": {"string_value": "red"}}]}},
                                                           {"call_expr": {"function": "!_", "args": [{"call_expr": {"function": "_==_", "args": [left, text]}}]}}]}}

    # ---- the whole ----

    def policy(self):
        made = {"permissions": [self.permission() for _ in range(self.rng.randint(1, 3))],
                "principals": [self.principal() for _ in range(self.rng.randint(1, 3))]}
        if self.maybe(0.15):
            made["condition"] = self.condition()
        return made

    def rules(self):
        names = self.rng.sample(["a", "b c", "d\te", "f", "ns[x]-policy[y]-rule[0]", "Z"], self.rng.randint(0 if self.maybe(0.1) else 1, 5))
        return {"action": self.one(["ALLOW", "ALLOW", "DENY", "LOG"]), "policies": {name: self.policy() for name in names}}

    def predicate(self, depth=1):
        if depth and self.maybe(0.3):
            kind = self.one(["or_matcher", "and_matcher", "not_matcher"])
            if kind == "not_matcher":
                return {kind: self.predicate(0)}
            return {kind: {"predicate": [self.predicate(0), self.predicate(0)]}}
        if self.maybe(0.6):
            name = self.one([h for h in HEADERS if h != "cookie"])
            pool = {":method": METHODS, ":authority": HOSTS}.get(name, VALUES)
            return {"single_predicate": {"input": tree_input(HEADER_INPUT, header_name=name), "value_match": self.tree_string(pool)}}
        kind = self.one(["SourceIPInput", "DirectSourceIPInput", "DestinationIPInput", "ServerNameInput"])
        pool = REQUESTED if kind == "ServerNameInput" else ["127.0.0.1", "10.1.2.3"]
        return {"single_predicate": {"input": tree_input(NETWORK_INPUT + kind), "value_match": self.tree_string(pool)}}

    def tree_string(self, values):
        made = self.string(values)
        if "safe_regex" in made:
            made["safe_regex"]["google_re2"] = {}
        return made

    def on_match(self, depth):
        if depth and self.maybe(0.3):
            return {"matcher": self.tree(depth - 1)}
        return {"action": tree_action(self.one(["one", "two two", "three"]), self.one(["ALLOW", "ALLOW", "DENY", "LOG"]))}

    def tree(self, depth=1):
        if self.maybe(0.3):
            kind = self.one(["exact_match_map", "prefix_match_map"])
            made = {"matcher_tree": {"input": tree_input(HEADER_INPUT, header_name="x-one"), kind: {"map": {
                v: self.on_match(depth) for v in self.rng.sample([v for v in VALUES if v], 3)}}}}
        else:
            made = {"matcher_list": {"matchers": [{"predicate": self.predicate(), "on_match": self.on_match(depth)}
                                                  for _ in range(self.rng.randint(1, 4))]}}
        if self.maybe(0.4):
            made["on_no_match"] = self.on_match(0)
        return made

    def fields(self):
        made = {}
        if self.maybe(0.9):
            made.update({"matcher": self.tree()} if self.maybe(0.25) else {"rules": self.rules()})
        if self.maybe(0.4):
            made.update({"shadow_matcher": self.tree()} if self.maybe(0.25) else {"shadow_rules": self.rules()})
        if self.maybe(0.3):
            made["rules_stat_prefix"] = self.one(["p", "p.", "q_"])
        if self.maybe(0.3):
            made["shadow_rules_stat_prefix"] = self.one(["s", "s.", "t_"])
        return made

    def route(self, prefix):
        more = {"metadata": {"filter_metadata": {SPACE: METADATA}}} if self.maybe(0.5) else {}
        if self.maybe(0.3):
            more.update(per_route(**self.fields()) if self.maybe(0.8) else per_route())
        return answers(prefix, **more)

    def listener(self, name, log, tls):
        before = [
            http_filter("envoy.filters.http.set_metadata", "extensions.filters.http.set_metadata.v3.Config",
                        metadata=[{"metadata_namespace": SPACE, "value": METADATA}]),
            http_filter("envoy.filters.http.set_filter_state", "extensions.filters.http.set_filter_state.v3.Config", on_request_headers=[
                {"object_key": "test.state", "factory_key": "envoy.string", "format_string": {"text_format_source": {"inline_string": "%REQ(x-one)%"}}}]),
        ]
        own = {**self.fields(), **({"track_per_rule_stats": True} if self.maybe(0.3) else {})}
        filters = [*before, rbac(**own)]
        if self.maybe(0.2):
            filters.append({**http_filter("second", HTTP, **self.fields())})
        return config.http_listener(name, stat_prefix=name, http_filters=chain(*filters), routes=[self.route("/a"), self.route("/")],
                                    access_log=[log], use_remote_address=self.maybe(0.5), tls=tls if self.is_tls else None,
                                    listener_fields={"listener_filters": [{"name": "tls", "typed_config": {
                                        "@type": config.TYPE + "extensions.filters.listener.tls_inspector.v3.TlsInspector"}}]})

    def request(self):
        headers = [(name, self.one(VALUES)) for name in ("x-one", "x-two") if self.maybe(0.6)]
        if self.maybe(0.15):
            headers.append(("x-one", self.one(VALUES)))
        forwarded = self.one(FORWARDED)
        if forwarded:
            headers.append(("x-forwarded-for", forwarded))
        return {"method": self.one(METHODS), "target": self.one(PATHS) + self.one(QUERIES), "headers": headers, "host": self.one(HOSTS),
                "client": self.one(CLIENTS), "server_name": self.one(REQUESTED)}
