"""Running benchmarks: equivalence first, then every server in every round, interleaved.

Interleaved, because a shared machine's speed drifts: each round has all servers within minutes
of each other, and ratios are taken inside a round.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loadtests import equivalence
from loadtests.bench import wrk
from loadtests.bench.benchmark import Benchmark, Medians, Plan, Values
from loadtests.processes import Running, ServerFailed, free_port, running
from loadtests.servers import OURS, Server, Target
from loadtests.tables import Summary

Say = Callable[[str], None]
_NATIVE_QUESTION = equivalence.Question("/native")


@dataclass
class Result:
    """One benchmark's numbers: by server, a list of rounds; and what failed, by server."""

    benchmark: Benchmark
    rounds: dict[str, list[Values]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def medians(self) -> Medians:
        """Summarise the rounds, by server and by metric."""
        return {
            name: {
                key: Summary.of(values[key] for values in rounds if key in values)
                for key in {key for values in rounds for key in values}
            }
            for name, rounds in self.rounds.items()
            if rounds
        }

    def ratio(self, name: str, ours: str = OURS) -> float | None:
        """Return the median, over the rounds, of ours over theirs (theirs over ours if less is
        better) in the first metric: above 1, ours is better."""
        key = self.benchmark.metrics[0].key
        pairs = zip(self.rounds.get(ours, []), self.rounds.get(name, []), strict=False)
        ratios = []
        for mine, theirs in pairs:
            better, worse = mine.get(key), theirs.get(key)
            if not self.benchmark.more_is_better:
                better, worse = worse, better
            if better and worse and better > 0 and worse > 0:
                ratios.append(better / worse)
        return statistics.median(ratios) if ratios else None


@contextmanager
def served(server: Server, plan: Plan) -> Iterator[Running]:
    """Run a server on its core, in a temporary folder; raises `ServerFailed`."""
    with tempfile.TemporaryDirectory(prefix="flasknado-bench-") as folder:
        # A server that drops root's rights must reach what is inside.
        Path(folder).chmod(0o711)
        with running(server, Target(free_port(), folder), core=plan.cores.server) as process:
            yield process


def check_equivalence(servers: Iterable[Server], plan: Plan, say: Say) -> dict[str, str]:
    """Ask every server the same; returns those that fail or differ from the first, with why."""
    reference: dict[equivalence.Question, equivalence.Answer] = {}
    reference_name = ""
    failed = {}
    for server in servers:
        questions = [*equivalence.QUESTIONS_TO_VIEWS]
        if server.native:
            questions.append(_NATIVE_QUESTION)
        most = server.max_body_bytes
        if most is not None:
            questions = [each for each in questions if len(each.body or b"") <= most]
        try:
            with served(server, plan) as process:
                answers = equivalence.answers_of(process.address, questions)
            if not reference:
                reference, reference_name = answers, server.name
            shared = {key: value for key, value in reference.items() if key in answers}
            equivalence.compare(shared, answers, (reference_name, server.name))
        except (ServerFailed, equivalence.NotEquivalent) as error:
            failed[server.name] = str(error)
            say(f"  {server.name}: {error}")
        else:
            say(f"  {server.name}: the same answers")
    return failed


def run(benchmark: Benchmark, servers: Mapping[str, Server], plan: Plan, say: Say) -> Result:
    """Run one benchmark on those of `servers` that it is for."""
    result = Result(benchmark)
    names = [name for name in benchmark.servers if name in servers]
    for number in range(plan.rounds):
        for name in _order(names, number):
            if name in result.failed:
                continue
            try:
                values = _one_round(benchmark, servers[name], plan)
            except (ServerFailed, wrk.GeneratorFailed, OSError) as error:
                result.failed[name] = str(error)
                result.rounds.pop(name, None)
                say(f"  {name}: {error}")
                continue
            result.rounds.setdefault(name, []).append(values)
            metric = benchmark.metrics[0]
            shown = f"{values[metric.key]:,.{metric.digits}f} {metric.heading}"
            say(f"  round {number + 1} of {plan.rounds}: {name:<18} {shown}")
    return result


def _one_round(benchmark: Benchmark, server: Server, plan: Plan) -> Values:
    with served(server, plan) as process:
        if plan.warm_up_s:
            load = wrk.Load(plan.connections, plan.warm_up_s)
            wrk.run(process.url + "/", load, plan.cores.generator)
        return benchmark.measure(process, plan)


def _order(names: Sequence[str], number: int) -> list[str]:
    """Return the servers in turn, every other round backwards."""
    return list(names) if number % 2 == 0 else list(reversed(names))
