"""The process that attacks: `python -m tests.siege.attacker NAME PORT LAYER SECONDS`.

It says `ready`, waits for a line, attacks, and answers with the report as JSON.
"""

from __future__ import annotations

import json
import resource
import sys

from tests.siege.attack import Target
from tests.siege.attacks import ATTACKS


def main(name: str, port: str, layer: str, seconds: str) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    run = ATTACKS[name].run
    print("ready", flush=True)  # noqa: T201
    sys.stdin.readline()
    report = run(Target(int(port), layer), float(seconds))
    answers = dict(report.answers.most_common())
    said = {"sent_bytes": report.sent_bytes, "answers": answers, "broken": report.broken}
    print(json.dumps(said), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
