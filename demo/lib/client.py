# SPDX-License-Identifier: Apache-2.0
"""A person's browser: requests to the gateway."""
import http.client
import json
import threading


class Client:
    def __init__(self, port):
        self.port = port

    def get(self, path="/api", **headers):
        """(status, what was said: read from JSON where it is that)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            text = response.read().decode()
            return response.status, json.loads(text) if text.startswith("{") else text
        except OSError as fault:
            return 0, str(fault)
        finally:
            connection.close()

    def page(self, **headers):
        """What productpage knows; {} when it can't be asked."""
        status, page = self.get("/api", **headers)
        return page if status == 200 and isinstance(page, dict) else {}

    def version(self, **headers):
        """Of reviews, as a page shows it; None without one."""
        return (self.page(**headers).get("reviews") or {}).get("version")

    def pages(self, count, at_once=1, **headers):
        """Many of them, so many at a time."""
        found, lock, left = [], threading.Lock(), list(range(count))

        def take_turns():
            while True:
                with lock:
                    if not left:
                        return
                    left.pop()
                page = self.page(**headers)
                with lock:
                    found.append(page)

        threads = [threading.Thread(target=take_turns) for _ in range(at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found


def ratings_status(page):
    return (page.get("reviews") or {}).get("ratings_status")
