# SPDX-License-Identifier: Apache-2.0
"""The mesh brought up: services and sidecars on their ground, weftd, the gateway; and questions to it."""
import json
import os
import shutil
import sys

from lib.config import Config
from lib.control import Control
from lib.loopback import free_port
from lib.processes import Processes, run, wait_until
from lib.world import BY_NAME, GATEWAY, WORKLOADS


def python():
    """One that any user may run."""
    return "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


class Mesh:
    def __init__(self, programs, demo_directory, directory, ground, gateway_port):
        self.directory, self.ground = directory, ground
        self.gateway_port = gateway_port or free_port()
        os.chmod(directory, 0o755)
        self.processes = Processes(self.path("logs", make=True))
        # Copies: other users than the demo's can't enter just any checkout.
        self.programs = {name: shutil.copy(path, self.path("bin", make=True)) for name, path in programs.items()}
        self.services = shutil.copytree(os.path.join(demo_directory, "services"), self.path("services"),
                                        ignore=shutil.ignore_patterns("__pycache__"))
        self.config = Config(demo_directory, self.path("config"), ground, self.gateway_port)
        self.control = Control(self.programs.get("weftd"), self.path("weftd", make=True), self.config, ground, self.processes)

    def path(self, *names, make=False):
        path = os.path.join(self.directory, *names)
        if make:
            os.makedirs(path, exist_ok=True)
        return path

    # ---- services ----

    def start_services(self):
        self.path("faults", make=True)
        for workload in WORKLOADS:
            host, port = self.ground.app_address(workload)
            env = {"NAME": workload.name, "VERSION": workload.version, "HOST": host, "PORT": str(port),
                   "FAULT_FILE": self.path("faults", workload.name), **self.ground.service_env(workload)}
            command = [python(), "-B", os.path.join(self.services, workload.app + ".py")]
            self.processes.start(workload.name, self.ground.command(workload, command), env)
        for workload in WORKLOADS:
            wait_until(lambda one=workload: self.own_health(one) == 200, f"{workload.name} to serve")

    def own_health(self, workload):
        self.processes.check()
        _, port = self.ground.app_address(workload)
        return self.get(workload, f"http://127.0.0.1:{port}/health", use_proxy=False)[0]

    def fault(self, workload_name, **told):
        """fault("ratings-1", fail_pct=100); without words: well again."""
        path = self.path("faults", workload_name)
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(told, file)
        os.replace(path + ".new", path)

    # ---- proxies ----

    def proxy_env(self, workload):
        config = {"discoveryAddress": self.control.discovery_address, "proxyAdminPort": self.ground.admin_port(workload),
                  "statusPort": self.ground.status_address(workload)[1], "concurrency": 1, "terminationDrainDuration": "0.5s"}
        return {"POD_NAME": workload.name, "POD_NAMESPACE": workload.namespace, "INSTANCE_IP": self.ground.ip(workload),
                "SERVICE_ACCOUNT": workload.app, "PROXY_CONFIG": json.dumps(config), "ISTIO_META_WORKLOAD_NAME": workload.name,
                "ISTIO_META_CLUSTER_ID": "Kubernetes", "ISTIO_META_INTERCEPTION_MODE": self.ground.interception,
                "ISTIO_METAJSON_LABELS": json.dumps(self.labels(workload)), "PILOT_CERT_PROVIDER": "istiod", "WEFT_LOAD_REPORTS": "true",
                "ENVOY_PROMETHEUS_PORT": "0", "ENVOY_STATUS_PORT": "0",
                **self.ground.sidecar_env(workload)}

    @staticmethod
    def labels(workload):
        return {**workload.labels, **({"istio": "ingress"} if workload is GATEWAY else {})}

    def start_proxy(self, workload):
        home = self.path("proxies", workload.name, make=True)
        for name, text in (("var/run/secrets/tokens/istio-token", self.control.token(workload)),
                           ("var/run/secrets/istio/root-cert.pem", self.control.root_cert())):
            path = os.path.join(home, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        self.ground.give(home)
        command = [self.programs["weft-proxy"], "router" if workload is GATEWAY else "sidecar",
                   "--domain", f"{workload.namespace}.svc.cluster.local"]
        self.processes.start("proxy-" + workload.name, self.ground.command(workload, command, is_proxy=True), self.proxy_env(workload),
                             cwd=home)

    def start_proxies(self):
        everyone = [*WORKLOADS, GATEWAY]
        for workload in everyone:
            self.start_proxy(workload)
        for workload in everyone:
            wait_until(lambda one=workload: self.is_proxy_ready(one), f"the proxy of {workload.name} to be ready")

    def is_proxy_ready(self, workload):
        self.processes.check()
        host, port = self.ground.status_address(workload)
        return self.get(workload, f"http://{host}:{port}/healthz/ready", use_proxy=False)[0] == 200

    # ---- questions ----

    def get(self, workload, url, use_proxy=True, headers=()):
        """(status, body) of a GET that the workload's application makes; status 0: no answer."""
        env = self.ground.service_env(workload) if use_proxy else {}
        given = [part for header in headers for part in ("-H", header)]
        command = ["curl", "-sS", "-m", "10", "-w", "\n%{http_code}", *given, *([] if use_proxy else ["--noproxy", "*"]), url]
        done = run(*self.ground.command(workload, command), check=False, env={**os.environ, **env})
        body, _, status = done.stdout.rpartition("\n")
        return int(status or 0), body

    def admin(self, workload_name, path):
        workload = BY_NAME[workload_name]
        return self.get(workload, f"http://127.0.0.1:{self.ground.admin_port(workload)}{path}", use_proxy=False)[1]

    def stat(self, workload_name, name):
        """The sum of the counters whose names match."""
        return sum(int(line.rsplit(" ", 1)[1]) for line in self.admin(workload_name, "/stats?filter=" + name).split("\n") if ": " in line)

    def weft(self, *arguments):
        """The tool beside weftd."""
        return run(self.programs["weft"], *arguments, "--weftd", f"127.0.0.1:{self.control.ports['http']}", check=False)

    def explain(self, url, workload_name):
        workload = BY_NAME[workload_name]
        command = [self.programs["weft"], "explain", url, "--from", workload_name, "--admin", f"127.0.0.1:{self.ground.admin_port(workload)}"]
        return run(*self.ground.command(workload, command), check=False)

    # ---- the whole ----

    def start(self, report):
        report.say(f"weft demo: {self.ground.summary}")
        report.say(f"files and logs: {self.directory}")
        self.ground.open()
        self.start_services()
        report.say(f"started: {len(WORKLOADS)} services")
        self.control.start()
        self.start_proxies()
        report.say(f"started: weftd on {self.config.directory}, {len(WORKLOADS)} sidecars, the gateway http://127.0.0.1:{self.gateway_port}")

    def stop(self):
        self.processes.stop_all()
        self.ground.close()
