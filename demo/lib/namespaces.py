# SPDX-License-Identifier: Apache-2.0
"""The ground of the mesh for root: a network namespace for each workload, whose traffic is captured.

A further namespace holds the switch that they are plugged into, so that this machine's own firewall and forwarding play no part;
this machine has one cable to it. What is made bears the demo's process id, and what a demo left that was killed is swept away by
the next one.
"""
import os
import re
import shutil

from lib.processes import run
from lib.world import GATEWAY, PORT, SERVICES, WORKLOADS

NET = "10.207.0"        # .1 is this machine, from .11 on the workloads
VIP_NET = "10.207.1"    # the services' addresses, which nobody has: the proxies know whom they stand for
PROXY_USER, APP_USER = 1337, 65534
PREFIX = "weft-demo-"
CONTROL_NAME = "istiod.istio-system.svc"


def sweep():
    """Takes away what demos left that are no more."""
    for name in run("ip", "netns", "list").stdout.split("\n"):
        found = re.match(PREFIX + r"(\d+)-\S+", name)
        if found and not os.path.exists(f"/proc/{found.group(1)}"):
            run("ip", "netns", "del", found.group(0), check=False)
            shutil.rmtree("/etc/netns/" + found.group(0), ignore_errors=True)


class Namespaces:
    summary = "a network namespace for each workload, its traffic captured by nftables: services call plain names on plain ports"
    control_host, control_name = NET + ".1", CONTROL_NAME
    interception = "REDIRECT"

    def __init__(self, weft):
        self.weft = weft
        self.made = []

    # ---- addresses ----

    def ip(self, workload):
        return f"{NET}.1" if workload is GATEWAY else f"{NET}.{11 + WORKLOADS.index(workload)}"

    def vip(self, service):
        return f"{VIP_NET}.{1 + SERVICES.index(service)}"

    def app_address(self, _workload):
        return "0.0.0.0", PORT

    def admin_port(self, workload):
        return 15000

    def status_address(self, workload):
        return "127.0.0.1", 15020

    # ---- making and removing ----

    def netns(self, name):
        return f"{PREFIX}{os.getpid()}-{name}"

    def open(self):
        sweep()
        self.add("switch")
        run("ip", "-n", self.netns("switch"), "link", "add", "switch", "type", "bridge")
        run("ip", "-n", self.netns("switch"), "link", "set", "switch", "up")
        self.add_host()
        for workload in WORKLOADS:
            self.add(workload.name)
            self.plug(workload.name, self.netns(workload.name), "eth0", self.ip(workload))
            run("ip", "-n", self.netns(workload.name), "route", "add", "default", "via", f"{NET}.1")
            self.capture(workload)

    def add(self, name):
        run("ip", "netns", "add", self.netns(name))
        self.made.append(self.netns(name))
        run("ip", "-n", self.netns(name), "link", "set", "lo", "up")
        self.write_hosts(self.netns(name))

    def add_host(self):
        """This machine's own namespace under a name, so that the gateway there gets its names as the others do."""
        run("ip", "netns", "attach", self.netns("host"), str(os.getpid()))
        self.made.append(self.netns("host"))
        self.write_hosts(self.netns("host"))
        self.plug("host", self.netns("host"), f"weft-{os.getpid()}", f"{NET}.1")

    def write_hosts(self, netns):
        """`ip netns exec` puts /etc/netns/NAME/hosts in the place of /etc/hosts."""
        os.makedirs("/etc/netns/" + netns)
        lines = ["127.0.0.1 localhost", "::1 localhost", f"{self.control_host} {CONTROL_NAME}",
                 *[f"{self.vip(service)} {service}" for service in SERVICES]]
        with open(f"/etc/netns/{netns}/hosts", "w", encoding="utf-8") as hosts:
            hosts.write("\n".join(lines) + "\n")

    def plug(self, name, netns, device, address):
        port = "port-" + str(len(self.made))
        run("ip", "-n", self.netns("switch"), "link", "add", port, "type", "veth", "peer", "name", device, "netns", netns)
        run("ip", "-n", self.netns("switch"), "link", "set", port, "master", "switch", "up")
        run("ip", "-n", netns, "addr", "add", f"{address}/24", "dev", device)
        run("ip", "-n", netns, "link", "set", device, "up")

    def capture(self, workload):
        run(self.weft, "capture", "apply", "--netns", self.netns(workload.name), "--proxy-uid", str(PROXY_USER),
            "--istio-inbound-ports", "*", "--istio-service-cidr", "*", "--istio-local-exclude-ports", "15020")

    def close(self):
        run("ip", "link", "del", f"weft-{os.getpid()}", check=False)
        for netns in reversed(self.made):
            run("ip", "netns", "del", netns, check=False)
            shutil.rmtree("/etc/netns/" + netns, ignore_errors=True)
        self.made = []

    # ---- running things there ----

    def command(self, workload, command, is_proxy=False):
        user = str(PROXY_USER if is_proxy else APP_USER)
        name = "host" if workload is GATEWAY else workload.name
        return ["ip", "netns", "exec", self.netns(name), "setpriv", "--reuid", user, "--regid", user, "--clear-groups",
                "--pdeathsig", "KILL", "--", *command]

    def give(self, path):
        """A folder becomes the proxies' own."""
        for folder, _, files in os.walk(path):
            for name in [folder, *[os.path.join(folder, file) for file in files]]:
                os.chown(name, PROXY_USER, PROXY_USER)

    def service_env(self, _workload):
        return {}

    def sidecar_env(self, _workload):
        return {}

    def objects(self):
        return []
