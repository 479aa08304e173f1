"""A client that receives the events of `live_commit_writers`, and judges them.

python -m loadtests.bench.live_commit_reader URL

Prints `ready` once it is connected. `begin` forgets what came, once it is quiet; `end COUNT RUN`
waits until so many events of that run have come, or for a while, and prints as JSON how late they
were and what is wrong.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import threading
import time

from flasknado.live.client import Client, LiveEvent
from loadtests.bench.live_commit_writers import CHANNEL

PATIENCE_S = 20.0


class Reader(threading.Thread):
    """Reads all the time, and comes back where a connection is lost."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.client = Client(url, [CHANNEL], retry_s=0.05, max_retry_s=0.2)
        self.received: list[tuple[float, LiveEvent]] = []

    def run(self) -> None:
        for event in self.client:
            self.received.append((time.monotonic(), event))

    def settle(self) -> None:
        """Forget what came, once nothing of the run before is on its way any more."""
        ends_at = time.monotonic() + PATIENCE_S
        before = -1
        while len(self.received) != before and time.monotonic() < ends_at:
            before = len(self.received)
            time.sleep(0.5)
        self.received.clear()

    def _of(self, run: int) -> list[tuple[float, LiveEvent]]:
        """Return what came of a run: that of the one before may be on its way still."""
        return [entry for entry in self.received if entry[1].data["run"] == run]

    def judge(self, count: int, run: int) -> dict[str, float]:
        """Return what came of a run, once so much of it has come or the patience is over."""
        ends_at = time.monotonic() + PATIENCE_S
        while len(received := self._of(run)) < count and time.monotonic() < ends_at:
            time.sleep(0.05)
        time.sleep(0.1)  # for what comes twice
        received = self._of(run)
        late_ms = [1000 * (at - event.data["at"]) for at, event in received]
        keys = [(event.data["writer"], event.data["n"]) for _, event in received]
        cursors = [int(event.id.rpartition(":")[2]) for _, event in received]
        last: dict[int, int] = {}
        disorders = sum(b <= a for a, b in itertools.pairwise(cursors))
        for writer, n in keys:
            disorders += n < last.get(writer, -1)
            last[writer] = n
        percentiles = statistics.quantiles([*late_ms, *late_ms] or [0, 0], n=100)
        return {
            "p50_ms": percentiles[49],
            "p99_ms": percentiles[98],
            "missing": max(count - len(set(keys)), 0),
            "doubles": len(keys) - len(set(keys)),
            "disorders": disorders,
        }


def main(url: str) -> int:
    """Connect, say so, and judge."""
    reader = Reader(url)
    reader.start()
    ends_at = time.monotonic() + PATIENCE_S
    while reader.client.cursor is None and time.monotonic() < ends_at:
        time.sleep(0.01)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        command, *arguments = line.split()
        said: dict[str, float] = {}
        if command == "begin":
            reader.settle()
        else:
            said = reader.judge(int(arguments[0]), int(arguments[1]))
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
