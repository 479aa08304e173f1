"""Socket.IO clients on long-polling, each on a connection of its own with a poll that waits.

python -m loadtests.bench.socketio_polling PORT COUNT

Prints `ready` when all wait; holds on until the input ends. They send what a browser sends, each
with a cookie of its own.
"""

from __future__ import annotations

import http.client
import json
import os
import resource
import sys
import time

from loadtests.bench.live_clients import HOST, TIMEOUT_S, answer_commands

SETTLING_S = 0.5
"""How long the last polls have to begin to wait."""
FIELDS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36",
    "Accept": "*/*",
    "Accept-Language": "en-US,en;q=0.9",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": "http://localhost/",
}


def connect(port: int, number: int) -> http.client.HTTPConnection:
    """Return the connection of a client of the namespace `/` whose poll waits; raises `OSError`."""
    connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT_S)
    fields = FIELDS | {"Cookie": f"session=of-client-{number:05d}-{'x' * 40}"}
    path = "/socket.io/?EIO=4&transport=polling"

    def answer(method: str, body: str | None = None) -> str:
        connection.request(method, path, body, fields)
        response = connection.getresponse()
        text = response.read().decode()
        if response.status != 200:
            raise ConnectionResetError(f"not the answer that was expected: {text[:200]!r}")
        return text

    path += f"&sid={json.loads(answer('GET')[1:])['sid']}"
    answer("POST", "40")
    if not (text := answer("GET")).startswith('40{"sid"'):
        raise ConnectionResetError(f"not the answer that was expected: {text[:200]!r}")
    connection.request("GET", path, headers=fields)
    return connection


def main(port: int, count: int) -> None:
    """Connect, say so, and hold on until the input ends."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections = [connect(port, number) for number in range(count)]
    time.sleep(SETTLING_S)
    answer_commands(lambda _: {"clients": len(connections)})
    # Closing thousands of sockets one by one is nobody's concern.
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
