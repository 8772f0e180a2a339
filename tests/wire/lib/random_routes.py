# SPDX-License-Identifier: Apache-2.0
"""Seeded random HTTP configurations and requests to them.

Everything is drawn from small pools, so that rules meet requests often, and nothing is left to a proxy's
own dice: fractions are 0 or 100 %, weighted clusters take their number from a header. The same seed
gives the same configuration and the same requests.
"""
import random

from lib import config

DOMAINS = ["test.local", "*.test.local", "api.*", "*", "a.b.test.local", "*.local", "api.test.local", "test.local:8080"]
HOSTS = ["test.local", "a.b.test.local", "api.test.local", "API.Test.Local", "other.net", "api.x", "x.local", "test.local:8080",
         "api.test.local:80"]
SEGMENTS = ["a", "b", "api", "v1", "items", "42", "A", "long-segment"]
HEADERS = ["x-one", "x-two", "x-user", "x-env", "x-num"]
VALUES = ["red", "blue", "", "42", "-7", "redblue", "Red", "a,b", "7 "]
REGEXES = ["re.*", "[a-z]+", "(red|blue)", ".*", "\\d+", "^r.d$", "", "[A-Z].*"]
PATH_REGEXES = ["/a/.*", "/api/v[0-9]+/.*", ".*/items", "/(a|b)", "/[^/]+/[^/]+", "/.*"]
CLUSTERS = ["one", "two", "three"]
COOKIES = ["session", "color"]
QUERIES = ["q", "debug", "page"]
METHODS = ["GET", "GET", "GET", "POST", "PUT", "OPTIONS", "HEAD", "DELETE"]
ORIGINS = ["http://test.local", "https://good.example", "https://evil.example", "http://a.good.example:8080"]
FILTERS = config.TYPE + "extensions.filters.http."


class Maker:
    """One configuration: `virtual_hosts`, other HCM fields, and requests, drawn from one seed."""

    def __init__(self, seed, features=None):
        self.rng = random.Random(seed)
        self.features = features
        self.filters = []
        self.route_filters = []   # makers of typed_per_filter_config entries

    # ---- dice ----

    def maybe(self, chance, feature=None):
        hit = self.rng.random() < chance
        return hit and (feature is None or self.features is None or feature in self.features)

    def one(self, pool):
        return self.rng.choice(pool)

    def some(self, pool, most=3):
        return self.rng.sample(pool, self.rng.randint(1, min(most, len(pool))))

    # ---- strings, headers, fractions ----

    def string_match(self):
        kind = self.one(["exact", "prefix", "suffix", "contains", "safe_regex"])
        if kind == "safe_regex":
            return {"safe_regex": {"regex": self.one(REGEXES[:6])}}
        value = self.one(VALUES if kind == "exact" else [v for v in VALUES if v])
        return {kind: value, **({"ignore_case": True} if self.maybe(0.3) else {})}

    def header_match(self):
        made = {"name": self.one(HEADERS)}
        kind = self.rng.randrange(5)
        if kind == 0:
            made["present_match"] = self.maybe(0.6)
        elif kind == 1:
            made["range_match"] = {"start": self.one([-10, 0, 42]), "end": self.one([1, 43, 100])}
        elif kind == 2:
            pass
        else:
            made["string_match"] = self.string_match()
        if self.maybe(0.2):
            made["invert_match"] = True
        if self.maybe(0.2):
            made["treat_missing_header_as_empty"] = True
        return made

    def fraction(self):
        return {"default_value": {"numerator": self.one([0, 100, 100])}}

    def header_value(self, response):
        pool = ["fixed", "%REQ(x-one)%", "a%REQ(x-two?x-one)%b", "%PROTOCOL%", "%REQ(:PATH)%", "%%", "%ROUTE_NAME%", "",
                "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "%REQ(x-user):2%"]
        if response:
            pool += ["%RESPONSE_CODE%", "%RESP(x-origin)%", "%UPSTREAM_CLUSTER%"]
        return self.one(pool)

    def header_add(self, response):
        made = {"header": {"key": self.one(["x-added", "x-more", *HEADERS[:2]]), "value": self.header_value(response)}}
        if self.maybe(0.7):
            made["append_action"] = self.one(["APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD",
                                              "OVERWRITE_IF_EXISTS"])
        if self.maybe(0.3):
            made["keep_empty_value"] = True
        return made

    def header_rules(self, chance):
        made = {}
        if self.maybe(chance, "header_rules"):
            made["request_headers_to_add"] = [self.header_add(False) for _ in range(self.rng.randint(1, 3))]
        if self.maybe(chance / 2, "header_rules"):
            made["request_headers_to_remove"] = self.some(HEADERS, 2)
        if self.maybe(chance, "header_rules"):
            made["response_headers_to_add"] = [self.header_add(True) for _ in range(self.rng.randint(1, 3))]
        if self.maybe(chance / 2, "header_rules"):
            made["response_headers_to_remove"] = self.some(["x-origin", "x-added", "server"], 2)
        return made

    # ---- matching ----

    def path(self, most=3):
        return "/" + "/".join(self.one(SEGMENTS) for _ in range(self.rng.randint(1, most)))

    def path_match(self):
        kind = self.rng.randrange(10)
        if kind < 4:
            return {"prefix": self.one(["/", self.path(1), self.path(2), self.path(2) + "/"])}
        if kind < 6:
            return {"path": self.path(2)}
        if kind == 6:
            return {"path_separated_prefix": self.path(2)}
        if kind == 7:
            return {"safe_regex": {"regex": self.one(PATH_REGEXES)}}
        if kind == 8 and self.maybe(0.5, "uri_template"):
            template = self.one(["/api/{version}/*", "/{first}/{second}", "/a/**", "/{x=*}/items", "/{rest=**}"])
            return {"path_match_policy": {"name": "envoy.path.match.uri_template.uri_template_matcher", "typed_config": {
                "@type": config.TYPE + "extensions.path.match.uri_template.v3.UriTemplateMatchConfig", "path_template": template}}}
        return {"prefix": "/"}

    def route_match(self):
        made = self.path_match()
        plain = "prefix" in made or "path" in made
        if plain and self.maybe(0.15):
            made["case_sensitive"] = False
        if self.maybe(0.35, "header_match"):
            made["headers"] = [self.header_match() for _ in range(self.rng.randint(1, 2))]
        if self.maybe(0.15, "query_match"):
            query = {"name": self.one(QUERIES)}
            query.update({"present_match": True} if self.maybe(0.4) else {"string_match": self.string_match()})
            made["query_parameters"] = [query]
        if self.maybe(0.08, "cookie_match"):
            made["cookies"] = [{"name": self.one(COOKIES), "string_match": self.string_match()}]
        if self.maybe(0.06, "metadata"):
            made["dynamic_metadata"] = [self.metadata_match()]
        if self.maybe(0.06):
            made["grpc"] = {}
        if self.maybe(0.12, "fraction_match"):
            made["runtime_fraction"] = self.fraction()
        return made

    # ---- actions ----

    def rewrite(self, match):
        made = {}
        kind = self.rng.randrange(6)
        if kind == 0 and "path_match_policy" not in match:
            made["prefix_rewrite"] = self.one(["/", "/rewritten", "/rewritten/"])
        elif kind == 1:
            made["regex_rewrite"] = {"pattern": {"regex": self.one(["/[a-z]+", "^/(\\w+)/(\\w+)", "[0-9]+"])},
                                     "substitution": self.one(["/x", "/\\1", "n"][:1])}
        elif kind == 2 and "path_match_policy" in match:
            made["path_rewrite_policy"] = {
                "name": "envoy.path.rewrite.uri_template.uri_template_rewriter", "typed_config": {
                    "@type": config.TYPE + "extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig",
                    "path_template_rewrite": "/fixed/path"}}
        kind = self.rng.randrange(6)
        if kind == 0:
            made["host_rewrite_literal"] = "rewritten.host"
        elif kind == 1:
            made["host_rewrite_header"] = self.one(HEADERS)
        elif kind == 2:
            made["host_rewrite_path_regex"] = {"pattern": {"regex": "^/(\\w+)/.*"}, "substitution": "\\1"}
        if kind < 3 and self.maybe(0.4):
            made["append_x_forwarded_host"] = True
        return made

    def target(self):
        kind = self.rng.randrange(8)
        if kind == 0 and self.maybe(1, "cluster_header"):
            return {"cluster_header": "x-cluster"}
        if kind == 1 and self.maybe(1, "weighted"):
            parts = []
            for name in self.some(CLUSTERS):
                parts.append({"name": name, "weight": self.rng.randint(0, 50), **self.header_rules(0.2)})
            parts[0]["weight"] += 1
            return {"weighted_clusters": {"clusters": parts, "header_name": "x-weight"}}
        return {"cluster": self.one(CLUSTERS)}

    def retry(self):
        on = self.some(["5xx", "gateway-error", "retriable-4xx", "retriable-status-codes", "reset", "connect-failure"], 2)
        made = {"retry_on": ",".join(on), "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"}}
        if self.maybe(0.7):
            made["num_retries"] = self.rng.randint(0, 3)
        if "retriable-status-codes" in on:
            made["retriable_status_codes"] = self.some([418, 500, 503, 404])
        return made

    def route_action(self, match):
        action = {**self.target(), **self.rewrite(match)}
        if self.maybe(0.2, "retry"):
            action["retry_policy"] = self.retry()
        if self.maybe(0.2, "descriptors"):
            action["rate_limits"] = self.rate_limits()
        if self.maybe(0.1, "internal_redirect"):
            action["internal_redirect_policy"] = {"max_internal_redirects": self.rng.randint(1, 2),
                                                  **({"redirect_response_codes": [301, 302]} if self.maybe(0.5) else {})}
        if self.maybe(0.1):
            action["timeout"] = self.one(["0s", "30s"])
        if self.maybe(0.1):
            action["cluster_not_found_response_code"] = "NOT_FOUND"
        return action

    def redirect(self, match):
        made = {}
        if self.maybe(0.4):
            made["host_redirect"] = "elsewhere.net"
        if self.maybe(0.3):
            made["https_redirect"] = True
        elif self.maybe(0.2):
            made["scheme_redirect"] = self.one(["http", "https", "ftp"])
        if self.maybe(0.3):
            made["port_redirect"] = self.one([80, 443, 8443])
        kind = self.rng.randrange(4)
        if kind == 0:
            made["path_redirect"] = self.one(["/moved", "/moved?x=1", "/"])
        elif kind == 1 and "path_match_policy" not in match:
            made["prefix_rewrite"] = self.one(["/moved", "/"])
        elif kind == 2:
            made["regex_rewrite"] = {"pattern": {"regex": "/[a-z]+"}, "substitution": "/m"}
        if self.maybe(0.3):
            made["strip_query"] = True
        if self.maybe(0.4):
            made["response_code"] = self.one(["FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT"])
        return made

    def route(self, number):
        match = self.route_match()
        made = {"match": match, "name": f"r{number}"}
        kind = self.rng.randrange(10)
        if kind == 0:
            made["direct_response"] = {"status": self.one([200, 204, 403, 503, 201])}
            if made["direct_response"]["status"] != 204:
                made["direct_response"]["body"] = {"inline_string": self.one(["", "said directly"])}
        elif kind in (1, 2) and self.maybe(1, "redirect"):
            made["redirect"] = self.redirect(match)
        else:
            made["route"] = self.route_action(match)
        made.update(self.header_rules(0.25))
        overrides = self.overrides(0.4)
        if overrides:
            made["typed_per_filter_config"] = overrides
        return made

    def virtual_host(self, number, domains):
        routes = [self.route(f"{number}.{i}") for i in range(self.rng.randint(1, 6))]
        if self.maybe(0.6):
            routes.append({"match": {"prefix": "/"}, "route": {"cluster": self.one(CLUSTERS)}, "name": "last"})
        made = config.virtual_host(routes, f"v{number}", domains, **self.header_rules(0.2))
        if self.maybe(0.1, "require_tls"):
            made["require_tls"] = self.one(["ALL", "EXTERNAL_ONLY"])
        if self.maybe(0.15, "attempt_count"):
            made["include_request_attempt_count"] = True
        if self.maybe(0.15, "attempt_count"):
            made["include_attempt_count_in_response"] = True
        if self.maybe(0.1, "virtual_clusters"):
            made["virtual_clusters"] = [{"name": "items", "headers": [{"name": ":path", "string_match": {"contains": "items"}}]}]
        overrides = self.overrides(0.3)
        if overrides:
            made["typed_per_filter_config"] = overrides
        return made

    # ---- filters ----

    def overrides(self, chance):
        made = {}
        for name, make in self.route_filters:
            if self.maybe(chance):
                made[name] = make()
        return made

    def add_filter(self, name, kind, fields, per_route=None):
        self.filters.append({"name": name, "typed_config": {"@type": FILTERS + kind, **fields}})
        if per_route:
            self.route_filters.append((name, per_route))

    def add_same(self, name, kind, make):
        """A filter whose per-route settings are of its own type."""
        self.add_filter("envoy.filters.http." + name, kind, make(), lambda: {"@type": FILTERS + kind, **make()})

    def fault(self):
        made = {}
        if self.maybe(0.7):
            made["abort"] = {"percentage": {"numerator": self.one([0, 100])}}
            made["abort"].update(self.one([{"http_status": 503}, {"http_status": 429}, {"grpc_status": 14}, {"header_abort": {}}]))
        if self.maybe(0.4):
            made["headers"] = [self.header_match()]
        if self.maybe(0.2):
            made["upstream_cluster"] = self.one(CLUSTERS)
        return made

    def cors_policy(self):
        made = {"allow_origin_string_match": self.one([[{"exact": ORIGINS[1]}], [{"suffix": ".example"}],
                                                       [{"safe_regex": {"regex": "https?://.*good.*"}}], []])}
        if self.maybe(0.6):
            made["allow_methods"] = "GET, POST"
        if self.maybe(0.5):
            made["allow_headers"] = "x-one"
        if self.maybe(0.4):
            made["expose_headers"] = "x-origin"
        if self.maybe(0.4):
            made["max_age"] = "600"
        if self.maybe(0.4):
            made["allow_credentials"] = self.maybe(0.5)
        if self.maybe(0.4):
            made["filter_enabled"] = self.fraction()
        if self.maybe(0.2):
            made["forward_not_matching_preflights"] = self.maybe(0.5)
        return made

    def csrf(self):
        made = {"filter_enabled": self.fraction()}
        if self.maybe(0.3):
            made["shadow_enabled"] = self.fraction()
        if self.maybe(0.5):
            made["additional_origins"] = [{"suffix": "good.example"}]
        return made

    def local_ratelimit(self):
        made = {"stat_prefix": "limit", **self.descriptors(),
                "token_bucket": {"max_tokens": self.rng.randint(1, 10), "tokens_per_fill": 1, "fill_interval": "3600s"},
                "filter_enabled": self.fraction(), "filter_enforced": self.fraction()}
        if self.maybe(0.3):
            made["status"] = {"code": self.one(["ServiceUnavailable", "TooManyRequests"])}
        if self.maybe(0.3):
            made["response_headers_to_add"] = [self.header_add(False)]
        if self.maybe(0.3):
            made["request_headers_to_add_when_not_enforced"] = [self.header_add(False)]
        return made

    def descriptors(self):
        """What routes' rate_limits may make: by header x-user, or the generic key."""
        if not self.maybe(0.5, "descriptors"):
            return {}
        bucket = {"max_tokens": self.rng.randint(1, 4), "tokens_per_fill": 1, "fill_interval": "3600s"}
        entry = self.one([{"key": "user", "value": self.one(VALUES[:4]) or "red"}, {"key": "generic_key", "value": "all"}])
        return {"descriptors": [{"entries": [entry], "token_bucket": bucket}]}

    def rate_limits(self):
        action = self.one([{"request_headers": {"header_name": "x-user", "descriptor_key": "user"}},
                           {"generic_key": {"descriptor_value": "all"}},
                           {"header_value_match": {"descriptor_value": "all", "descriptor_key": "generic_key",
                                                   "headers": [self.header_match()]}}])
        return [{"actions": [action]}]

    def header_to_metadata(self):
        rule = {"header": self.one(HEADERS), "remove": self.maybe(0.3),
                "on_header_present": {"metadata_namespace": "drawn", "key": "value"}}
        if self.maybe(0.4):
            rule["on_header_missing"] = {"metadata_namespace": "drawn", "key": "value", "value": "none"}
        return {"request_rules": [rule]}

    def metadata_match(self):
        value = self.one([{"string_match": {"exact": self.one(["red", "none", "42"])}}, {"present_match": True}])
        return {"filter": "drawn", "path": [{"key": "value"}], "value": value, **({"invert": True} if self.maybe(0.2) else {})}

    def compressor(self):
        library = {"name": "gzip", "typed_config": {"@type": config.TYPE + "extensions.compression.gzip.compressor.v3.Gzip"}}
        common = {"min_content_length": self.one([1, 30, 100])}
        return {"compressor_library": library, "response_direction_config": {"common_config": common}}

    def mutations(self):
        made = []
        for _ in range(self.rng.randint(1, 3)):
            made.append({"remove": self.one(HEADERS)} if self.maybe(0.4) else {"append": self.header_add(False)})
        return made

    def header_mutation(self):
        return {"mutations": {"request_mutations": self.mutations(), "response_mutations": self.mutations()}}

    def draw_filters(self):
        if self.maybe(0.25, "fault"):
            self.add_same("fault", "fault.v3.HTTPFault", self.fault)
        if self.maybe(0.25, "cors"):
            self.add_filter("envoy.filters.http.cors", "cors.v3.Cors", {},
                            lambda: {"@type": FILTERS + "cors.v3.CorsPolicy", **self.cors_policy()})
        if self.maybe(0.2, "csrf"):
            self.add_same("csrf", "csrf.v3.CsrfPolicy", self.csrf)
        if self.maybe(0.2, "local_ratelimit"):
            self.add_same("local_ratelimit", "local_ratelimit.v3.LocalRateLimit", self.local_ratelimit)
        if self.maybe(0.2, "header_mutation"):
            self.add_filter("envoy.filters.http.header_mutation", "header_mutation.v3.HeaderMutation", self.header_mutation(),
                            lambda: {"@type": FILTERS + "header_mutation.v3.HeaderMutationPerRoute", **self.header_mutation()})
        if self.maybe(0.15, "buffer"):
            self.add_filter("envoy.filters.http.buffer", "buffer.v3.Buffer", {"max_request_bytes": self.one([4, 1000])},
                            lambda: {"@type": FILTERS + "buffer.v3.BufferPerRoute", **self.one(
                                [{"disabled": True}, {"buffer": {"max_request_bytes": 2}}])})
        if self.maybe(0.15, "metadata"):
            self.add_filter("envoy.filters.http.header_to_metadata", "header_to_metadata.v3.Config", self.header_to_metadata())
        if self.maybe(0.1, "compressor"):
            self.add_filter("envoy.filters.http.compressor", "compressor.v3.Compressor", self.compressor())
        self.rng.shuffle(self.filters)

    # ---- the whole ----

    def hcm_fields(self):
        self.draw_filters()
        domains = self.rng.sample(DOMAINS, self.rng.randint(1, len(DOMAINS)))
        hosts, number = [], 0
        while domains:
            take = self.rng.randint(1, 3)
            hosts.append(self.virtual_host(number, domains[:take]))
            domains, number = domains[take:], number + 1
        route_config = self.header_rules(0.2)
        if self.maybe(0.3):
            route_config["ignore_port_in_host_matching"] = True
        if self.maybe(0.3, "header_rules"):
            route_config["most_specific_header_mutations_wins"] = self.maybe(0.7)
        route_config["validate_clusters"] = False
        router = {"name": "envoy.filters.http.router", "typed_config": {"@type": config.ROUTER}}
        fields = {"virtual_hosts": hosts, "route_config": route_config, "http_filters": [*self.filters, router]}
        if self.maybe(0.1, "early_mutation"):
            fields["early_header_mutation_extensions"] = [{"name": "early", "typed_config": {
                "@type": config.TYPE + "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                "mutations": self.mutations()}}]
        return fields

    def request(self):
        headers = [(name, self.one(VALUES)) for name in HEADERS if self.maybe(0.35)]
        if self.maybe(0.3):
            headers.append((self.one(HEADERS), self.one(VALUES)))
        if self.maybe(0.5):
            headers.append(("x-cluster", self.one([*CLUSTERS, "unknown"])))
        headers.append(("x-weight", str(self.rng.randint(0, 10000)))) # without it the proxies would draw
        if self.maybe(0.25):
            headers.append(("origin", self.one(ORIGINS)))
        if self.maybe(0.15):
            headers.append(("referer", self.one(ORIGINS) + "/page"))
        if self.maybe(0.15):
            headers.append(("access-control-request-method", self.one(["GET", "DELETE"])))
        if self.maybe(0.25):
            headers.append(("cookie", "; ".join(f"{name}={self.one(VALUES[:4])}" for name in self.some(COOKIES, 2))))
        if self.maybe(0.15):
            headers.append(("accept-encoding", self.one(["gzip", "br", "gzip;q=0", "*"])))
        if self.maybe(0.1):
            headers.append(("content-type", "application/grpc"))
        if self.maybe(0.15):
            headers.append(("x-envoy-fault-abort-request", self.one(["503", "418", "nonsense"])))
        if self.maybe(0.3):
            headers.append(("x-answer", self.one(["503", "500", "418", "404", "409", "reset", "200", "302", "301"])))
        method = self.one(METHODS)
        target = self.path()
        if self.maybe(0.35):
            target += "?" + "&".join(f"{name}={self.one(['red', '42', ''])}" for name in self.some(QUERIES, 2))
        body = self.one([b"", b"abc", b"abcdefgh"]) if method in ("POST", "PUT") else b""
        return {"method": method, "target": target, "headers": headers, "host": self.one(HOSTS), "body": body}
