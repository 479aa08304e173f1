"""Processes that publish without pause, each event in a transaction of its own.

python -m loadtests.bench.live_publishers URL COUNT

Prints `ready` when all have published once. Then it has them publish for as many seconds as a
line says, and prints the sum of their rates and what was lost or failed as JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection

import sqlalchemy as sa
from flask import Flask

from flasknado.live import Live
from flasknado.live.event import parse_cursor

CHANNEL = "bench"
DATA = {"n": 1, "text": "x" * 120}
TIMEOUT_S = 30.0
SETTLE_TIMEOUT_S = 5.0


def application(url: str) -> tuple[Flask, Live]:
    """Return an application with a log in this database."""
    app = Flask(__name__)
    return app, Live(app, database_url=url)


def publish(url: str, orders: Connection) -> None:
    """Publish once; then for each number of seconds that is ordered, until the orders end."""
    app, live = application(url)
    with app.app_context():
        live.publish(CHANNEL, "tick", DATA)
        orders.send((1, 0, 1.0))
        while (seconds := orders.recv()) is not None:
            published = failed = 0
            began = time.monotonic()
            while time.monotonic() - began < seconds:
                try:
                    live.publish(CHANNEL, "tick", DATA)
                except sa.exc.OperationalError:
                    failed += 1
                else:
                    published += 1
            orders.send((published, failed, time.monotonic() - began))


class Publishers:
    """Processes that publish at the same time."""

    def __init__(self, url: str, count: int) -> None:
        self._app, self._live = application(url)
        with self._app.app_context():
            self._live.cursor()  # the tables are there before anybody needs them
        head = self.head()
        context = multiprocessing.get_context("spawn")
        self._orders: list[Connection] = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            context.Process(target=publish, args=(url, theirs), daemon=True).start()
            theirs.close()
            self._orders.append(ours)
        self._collect()
        self._settle(head + count)

    def _settle(self, head: int) -> None:
        """Wait for the log: on PostgreSQL events get their offsets a moment after the commit."""
        ends_at = time.monotonic() + SETTLE_TIMEOUT_S
        while self.head() < head and time.monotonic() < ends_at:
            time.sleep(0.01)

    def head(self) -> int:
        """Return the offset of the log's last event."""
        with self._app.app_context():
            return parse_cursor(self._live.cursor()).offset

    def run(self, seconds: float) -> dict[str, float]:
        """Have all publish for so long."""
        head = self.head()
        for orders in self._orders:
            orders.send(seconds)
        results = self._collect()
        published = sum(result[0] for result in results)
        self._settle(head + published)
        return {
            "per_second": sum(result[0] / result[2] for result in results),
            "failures": sum(result[1] for result in results) + abs(self.head() - head - published),
        }

    def end(self) -> None:
        """End the processes."""
        for orders in self._orders:
            orders.send(None)
            orders.close()

    def _collect(self) -> list[tuple[int, int, float]]:
        results = []
        for orders in self._orders:
            if not orders.poll(TIMEOUT_S):
                raise TimeoutError("a publisher does not answer")
            results.append(orders.recv())
        return results


def main(url: str, count: int) -> int:
    """Start the processes, say so, and measure for each line."""
    publishers = Publishers(url, count)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(publishers.run(float(line))) + "\n")
        sys.stdout.flush()
    publishers.end()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
