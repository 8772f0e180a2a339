# SPDX-License-Identifier: Apache-2.0
"""Who is in the mesh."""
from typing import NamedTuple

SERVICES = ("productpage", "details", "reviews", "ratings")
PORT = 9080


class Workload(NamedTuple):
    name: str
    app: str
    version: str
    namespace: str = "bookinfo"

    @property
    def labels(self):
        return {"app": self.app, "version": self.version, "instance": self.name}

    @property
    def identity(self):
        return f"spiffe://cluster.local/ns/{self.namespace}/sa/{self.app}"


WORKLOADS = [Workload("productpage-v1", "productpage", "v1"), Workload("details-v1", "details", "v1"),
             Workload("reviews-v1", "reviews", "v1"), Workload("reviews-v2", "reviews", "v2"), Workload("reviews-v3", "reviews", "v3"),
             Workload("ratings-1", "ratings", "v1"), Workload("ratings-2", "ratings", "v1")]
GATEWAY = Workload("ingress", "ingress", "v1", "istio-ingress")
BY_NAME = {one.name: one for one in [*WORKLOADS, GATEWAY]}
