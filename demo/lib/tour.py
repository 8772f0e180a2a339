# SPDX-License-Identifier: Apache-2.0
"""The tour: each step does what it talks about and checks what came of it."""
import collections
import json
import time

from lib.client import ratings_status
from lib.processes import Failed, wait_until
from lib.say import table
from lib.world import BY_NAME, GATEWAY, PORT

IN_FORCE_S = 20


class Tour:
    def __init__(self, mesh, client, report):
        self.mesh, self.client, self.report = mesh, client, report

    def run(self):
        self.discovery()  # without it nothing else can be seen
        for step in (self.mutual_tls, self.canary, self.header, self.retry, self.breaker, self.outlier, self.deny,
                     self.live_edit, self.proxy_status, self.explain, self.graph):
            try:
                step()
            except Failed as fault:  # the others are shown all the same
                self.report.check(False, str(fault))

    def edit(self, file, edit, is_in_force):
        """Edits the YAML that weftd watches and waits until a request tells of it; the seconds that took."""
        start = time.monotonic()
        self.mesh.config.edit(file, edit)
        wait_until(is_in_force, f"{file}.{edit}.yaml to be in force", IN_FORCE_S)
        return time.monotonic() - start

    def restore(self, file, is_in_force):
        self.mesh.config.restore(file)
        wait_until(is_in_force, f"{file}.yaml to be in force again", IN_FORCE_S)

    # ---- the steps ----

    def discovery(self):
        self.report.step("Discovery: the gateway finds productpage, that finds details and reviews, by name")
        page = wait_until(self.client.page, "a page through the gateway")
        if self.report.check((page["details_status"], page["reviews_status"]) == (200, 200),
                             "productpage called http://details:9080 and http://reviews:9080",
                             f"details: {page['details_status']}, reviews: {page['reviews_status']}"):
            self.report.show(f"{page['details']['book']['title']}, reviews {page['reviews']['version']}")
        status, _ = self.client.get("/nowhere")
        self.report.check(status == 404, "a path that no VirtualService names: 404")

    def mutual_tls(self):
        self.report.step("Mutual TLS: services speak plain HTTP, proxies prove who they are")
        page = self.client.page()
        seen = {"productpage": page.get("caller"), "details": (page.get("details") or {}).get("caller"),
                "reviews": (page.get("reviews") or {}).get("caller")}
        product = BY_NAME["productpage-v1"].identity
        self.report.check(seen == {"productpage": GATEWAY.identity, "details": product, "reviews": product},
                          "each service is told its caller's verified SPIFFE ID",
                          table(["service", "called by"], sorted(seen.items())))
        details = f"http://{self.mesh.ground.ip(BY_NAME['details-v1'])}:{PORT}/details"
        status, _ = self.mesh.get(GATEWAY, details, use_proxy=False)
        self.report.check(status == 0, "a caller without a certificate is cut off (PeerAuthentication STRICT)", f"curl {details}")

    def canary(self):
        self.report.step("Canary: 90 % of requests to reviews v1, 10 % to v2")
        self.edit("reviews", "canary", lambda: any(self.client.version() == "v2" for _ in range(20)))
        found = collections.Counter((page.get("reviews") or {}).get("version") for page in self.client.pages(300, at_once=4))
        share = 100 * found["v2"] / 300
        self.report.check(set(found) <= {"v1", "v2"} and 4 <= share <= 18, "of 300 requests", f"v1: {found['v1']}, v2: {found['v2']}")

    def header(self):
        self.report.step("Routing by header: end-user jason sees v3, everybody else v1")
        self.edit("reviews", "header", lambda: self.client.version(end_user="jason") == "v3")
        jason = {self.client.version(end_user="jason") for _ in range(20)}
        others = {self.client.version() for _ in range(20)}
        self.report.check(jason == {"v3"} and others == {"v1"}, "20 requests each", f"jason: {sorted(jason)}, others: {sorted(others)}")

    def failures(self, count=40):
        """Of so many pages of jason's, whose reviews ask ratings, how many came without them."""
        return sum(ratings_status(page) != 200 for page in self.client.pages(count, end_user="jason"))

    def caller_says(self, words, page):
        """Of ratings' caller for jason: its proxy's admin page has these words."""
        return words in self.mesh.admin("reviews-v3", page)

    def retry(self):
        self.report.step("Retry: ratings-1 fails every request; ratings-2 is well")
        self.mesh.fault("ratings-1", fail_pct=100)
        before = self.failures()
        # Less than half: a proxy gives an instance that fails fast fewer turns.
        self.report.check(5 <= before <= 30, "without retries many of 40 pages have no ratings", f"{before} of 40")
        self.edit("ratings", "retry", lambda: self.caller_says('"retry_on": "5xx"', "/config_dump?resource=dynamic_route_configs"))
        after = self.failures()
        self.report.check(after == 0, "with retries none is without", f"{after} of 40")
        self.mesh.fault("ratings-1")
        self.mesh.config.restore("ratings")

    def breaker(self):
        self.report.step("Circuit breaker: ratings is slow, one connection and one waiting request are allowed")
        for name in ("ratings-1", "ratings-2"):
            self.mesh.fault(name, slow_ms=150)

        def hurried():
            return collections.Counter(ratings_status(page) for page in self.client.pages(16, at_once=8, end_user="jason"))
        before = hurried()
        self.edit("ratings", "breaker", lambda: hurried()[503] > 0)
        after = hurried()
        self.report.check(before == {200: 16} and after[503] > 0 and after[200] > 0,
                          "16 pages, 8 at once: what is too much is refused at once",
                          table(["answers of ratings", "200", "503"], [["before", before[200], before[503]], ["after", after[200], after[503]]]))
        for name in ("ratings-1", "ratings-2"):
            self.mesh.fault(name)
        self.restore("ratings", lambda: hurried() == {200: 16})

    def outlier(self):
        self.report.step("Outlier detection: an instance that fails three times in a row is left out")
        self.mesh.fault("ratings-1", fail_pct=100)
        start = time.monotonic()
        self.edit("ratings", "outlier", lambda: self.failures(6) == 0 and self.caller_says("failed_outlier_check", "/clusters"))
        took, after = time.monotonic() - start, self.failures()
        self.report.check(after == 0, f"after {took:.1f} s it is ejected, and nobody is sent there", f"{after} of 40 pages without ratings")
        self.mesh.fault("ratings-1")
        self.mesh.config.restore("ratings")

    def deny(self):
        self.report.step("Authorization: who may call whom")
        status, body = self.mesh.get(BY_NAME["details-v1"], "http://ratings:9080/ratings")
        self.report.check(status == 403, "details may not call ratings: only reviews may", f"{status} {body}")
        took = self.edit("security", "deny", lambda: self.client.page().get("details_status") == 403)
        self.report.check(True, f"a DENY policy for details is in force after {took * 1000:.0f} ms", "productpage gets 403 from details")
        self.restore("security", lambda: self.client.page().get("details_status") == 200)

    def live_edit(self):
        self.report.step("Live edit: reviews.yaml sends jason to v2 in place of v3")
        took = self.edit("reviews", "edited", lambda: self.client.version(end_user="jason") == "v2")
        self.report.check(took < 2, f"from the file's renaming to the first request that goes elsewhere: {took * 1000:.0f} ms")

    def proxy_status(self):
        self.report.step("weft proxy-status")
        done = self.mesh.weft("proxy-status")
        expected = [name for name in BY_NAME if name not in done.stdout]
        self.report.check(done.returncode == 0 and not expected, f"all {len(BY_NAME)} proxies have what weftd has for them",
                          done.stdout or done.stderr)

    def explain(self):
        self.report.step("weft explain http://reviews:9080/reviews --from productpage-v1")
        done = self.mesh.explain(f"http://reviews:{PORT}/reviews", "productpage-v1")
        self.report.check(done.returncode == 0 and "reviews" in done.stdout, "which VirtualService, DestinationRule and endpoint decide",
                          done.stdout or done.stderr)

    def graph(self):
        self.report.step("The service graph: who calls whom, from the proxies' load reports")
        wanted = {("ingress", "productpage"), ("productpage", "details"), ("productpage", "reviews"), ("reviews", "ratings")}

        def known():
            edges = self.mesh.control.graph()
            return edges if wanted <= {(edge["source"], edge["destination"]) for edge in edges} else None
        edges = wait_until(known, f"the graph to have {json.dumps(sorted(wanted))}", IN_FORCE_S)
        rows = [[edge["source"], edge["destination"], edge["requests"], edge["errors"], edge.get("latency_ms", "")] for edge in edges]
        self.report.check(True, f"{len(edges)} edges", table(["from", "to", "requests", "errors", "mean ms"], sorted(rows)))
