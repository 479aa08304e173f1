"""An application's transactions, with an event each or without, from many threads.

python -m loadtests.bench.live_commit_writers URL

Prints `ready`. For each line `THREADS EVENT SECONDS RATE` it has so many threads commit for so
long, publishing if EVENT is 1, together at RATE a second (0: without pause), and prints what
came of it as JSON.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import threading
import time
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column

from flasknado.live import Live

CHANNEL = "bench"
TEXT = "x" * 120
MAX_THREADS = 32
ACCOUNTS = 1000


class Writers:
    """An application and the threads that use it."""

    def __init__(self, url: str) -> None:
        self.app = Flask(__name__)
        options: dict[str, Any] = {"pool_size": MAX_THREADS, "max_overflow": 4}
        if url.startswith("sqlite"):
            options["connect_args"] = {"timeout": 30}
        self.app.config["SQLALCHEMY_DATABASE_URI"] = url
        self.app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
        self.db = SQLAlchemy(self.app)
        self.live = Live(self.app, self.db)
        db = self.db

        class Account(db.Model):  # type: ignore[name-defined,misc]
            id: Mapped[int] = mapped_column(primary_key=True)
            balance: Mapped[int] = mapped_column(default=0)

        class Booking(db.Model):  # type: ignore[name-defined,misc]
            id: Mapped[int] = mapped_column(primary_key=True)
            account_id: Mapped[int]
            text: Mapped[str]

        self.account, self.booking = Account, Booking
        self.runs = 0
        with self.app.app_context():
            db.create_all()
            db.session.add_all(Account(id=n) for n in range(1, ACCOUNTS + 1))
            db.session.commit()
            self.live.cursor()

    def run(self, threads: int, publishing: bool, seconds: float, rate: float) -> dict[str, float]:
        """Commit for so long; every event says which run it is of."""
        self.runs += 1
        run = self.runs
        durations: list[float] = []
        failures: list[Exception] = []
        ends_at = time.monotonic() + seconds
        interval_s = threads / rate if rate else 0.0

        def write(number: int) -> None:
            due_at = time.monotonic() + interval_s * number / threads
            n = 0
            while (began_at := time.monotonic()) < ends_at:
                if interval_s:
                    if due_at > began_at:
                        time.sleep(due_at - began_at)
                    due_at += interval_s
                    began_at = time.monotonic()
                try:
                    self._commit(publishing, {"at": began_at, "run": run, "writer": number, "n": n})
                except sa.exc.SQLAlchemyError as error:
                    failures.append(error)
                else:
                    durations.append(time.monotonic() - began_at)
                    n += 1

        began_at = time.monotonic()
        them = [threading.Thread(target=write, args=(n,)) for n in range(threads)]
        for thread in them:
            thread.start()
        for thread in them:
            thread.join()
        elapsed_s = time.monotonic() - began_at
        return {
            "run": run,
            "per_second": len(durations) / elapsed_s,
            "published": len(durations) if publishing else 0,
            "p99_ms": 1000 * statistics.quantiles([*durations, *durations] or [0, 0], n=100)[98],
            "failures": len(failures),
        }

    def _commit(self, publishing: bool, data: dict[str, float]) -> None:
        with self.app.app_context():
            session = self.db.session
            account: Any = session.get(self.account, random.randint(1, ACCOUNTS))
            account.balance += 1
            session.add(self.booking(account_id=account.id, text=TEXT))
            if publishing:
                self.live.publish(CHANNEL, "booked", {**data, "text": TEXT})
            session.commit()


def main(url: str) -> int:
    """Say so when ready, and commit for each line."""
    writers = Writers(url)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        threads, publishing, seconds, rate = line.split()
        found = writers.run(int(threads), publishing == "1", float(seconds), float(rate))
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
