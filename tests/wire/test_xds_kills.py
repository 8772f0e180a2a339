# SPDX-License-Identifier: Apache-2.0
"""A management server that dies in the middle of what it says, again and again, while the proxy serves."""
import threading

import pytest

from lib import config
from lib.ads_server import ads_bootstrap
from lib.http1 import fetch
from lib.mortal_ads import MortalAds
from lib.wait import wait_until

LIVES = 51  # of each kind of stream: a hundred deaths in all


class Traffic:
    """Requests one after another until it is ended; `bad` are those that weren't answered with 200."""

    def __init__(self, address):
        self.address = address
        self.count = 0
        self.bad = []
        self.is_over = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.is_over:
            try:
                answer = fetch(self.address, headers=[("Connection", "close")])
                if answer.status != 200:
                    self.bad.append((self.count, answer.status, answer.body))
            except OSError as error:
                self.bad.append(error)
            self.count += 1

    def end(self):
        self.is_over = True
        self.thread.join()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
def test_server__killed_in_the_middle_of_pushes_again_and_again__no_request_fails(start_proxy, started, origin, delta):
    server = MortalAds(80, origin.port, LIVES)
    started.add(server, server.close)
    proxy = start_proxy(ads_bootstrap(server.port, delta=delta, lds=False, listeners=[
        config.http_listener(route_config={"validate_clusters": False})]))
    assert fetch(proxy.address()).status == 200
    traffic = Traffic(proxy.address())
    wait_until(lambda: server.is_last, "50 deaths", 240)
    proxy.wait_stat("control_plane.connected_state", 1)
    last = proxy.stat("cluster_manager.cds.update_success")
    proxy.wait_stat("cluster_manager.cds.update_success", last + 2, exactly=False)
    traffic.end()
    assert not traffic.bad
    assert traffic.count > 100
    assert proxy.stat("cluster_manager.cds.update_failure") >= LIVES - 1
    assert proxy.stat("cluster_manager.cds.update_rejected") == 0
