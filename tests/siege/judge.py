"""One attack on a running server: watched from outside while it lasts, and judged afterwards."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field

from loadtests.bench.live_helper import helping
from loadtests.bench.probe import Probed, probe
from loadtests.bench.wrk import GeneratorFailed
from tests.siege.attack import Attack, Report
from tests.siege.attacks.calm import CALM
from tests.siege.setups import Besieged
from tests.siege.vitals import Vitals, forget_peak, stretch
from tests.support.poll import poll

HEALTH = "/-/healthz"
PROBES_PER_S = 20
PROBE_CONNECTIONS = 2
HEALTH_WORST_MS = 1_000.0
PAGE_WORST_MS = 10_000.0
TORNADO_TIMES = 5
"""Tornado's own layer divides work into larger turns: docs/http-safety.md."""
CALM_TIMES = 4
"""How much slower than without an attack, on a machine that is slow by itself."""
AFTER_S = 25.0
"""How long the worker may take until it has given back what an attack made it take."""
MORE_THREADS = 24
"""Those of the lanes are started when they are first needed, and stay."""
MORE_DESCRIPTORS = 16
"""Those of the database: three files for each thread that has asked it something."""
ATTACK_DEADLINE_S = 60.0


@dataclass
class Outcome:
    """What came of one attack on one server."""

    attack: Attack
    setup: str
    report: Report = field(default_factory=Report)
    health: Probed = field(default_factory=lambda: Probed([], 0))
    page: Probed = field(default_factory=lambda: Probed([], 0))
    peak_mb: float = 0.0
    processor_s: float = 0.0
    broken: list[str] = field(default_factory=list)
    """The rules that were broken; none if the server held."""

    @property
    def held(self) -> bool:
        return not self.broken


def besiege(
    attack: Attack, setup: str, besieged: Besieged, seconds: float, calm: Outcome | None
) -> Outcome:
    """Attack a server for about `seconds`; latencies are judged beside those of `calm`.

    Without `calm` they are not judged: the health page must answer, however late.
    """
    outcome = Outcome(attack, setup)
    judge = outcome.broken.append
    worker, log_lines = besieged.worker, len(besieged.process.lines)
    seconds = max(seconds, attack.judged_s if calm else 0.0)
    arguments = [attack.name, str(besieged.target.port), besieged.layer, str(seconds)]
    before = Vitals.of(worker)
    forget_peak(worker)
    with (
        ThreadPoolExecutor(2, "probes") as probes,
        helping("tests.siege.attacker", arguments, None, seconds + ATTACK_DEADLINE_S) as attacker,
        besieged.trouble() if attack.name != CALM else nullcontext(),
    ):
        health, page = (
            probes.submit(
                probe, besieged.target.address, path, seconds, PROBES_PER_S, PROBE_CONNECTIONS
            )
            for path in (HEALTH, besieged.page)
        )
        time.sleep(2 / PROBES_PER_S)  # so that the probes have their connections
        try:
            said = attacker.ask_json("attack")
            outcome.report = Report(**said | {"answers": Counter(said["answers"])})
        except GeneratorFailed:
            judge("the attacker has ended, or waited too long, without a report")
        outcome.health, outcome.page = health.result(), page.result()
    outcome.broken += outcome.report.broken
    judge_log("".join(besieged.process.lines[log_lines:]), outcome)
    try:
        during = Vitals.of(worker)
        allowance = stretch(before, during)
        if besieged.layer == "tornado":
            allowance *= TORNADO_TIMES
        judge_latencies(outcome, calm, allowance)
        outcome.peak_mb = during.peak_mb
        outcome.processor_s = during.processor_s - before.processor_s
        if during.peak_mb > before.memory_mb + attack.memory_mb:
            judge(f"memory rose by {during.peak_mb - before.memory_mb:.0f} MB")
        judge_recovery(worker, besieged.layer, before, outcome)
    except OSError:
        judge("the worker died")
    return outcome


def judge_log(log: str, outcome: Outcome) -> None:
    """Nothing that a client sends may end in a traceback or in a worker's end."""
    if "Traceback" in log and not outcome.attack.logs_tracebacks:
        outcome.broken.append("a traceback in the log")
    if "WORKER TIMEOUT" in log or "was sent SIG" in log:
        outcome.broken.append("the arbiter killed the worker")


def judge_latencies(outcome: Outcome, calm: Outcome | None, allowance: float = 1.0) -> None:
    """Judge how the health page and an ordinary page were answered meanwhile.

    The bounds are `allowance` times what they are for a server with a core of its own.
    """
    attack, judge = outcome.attack, outcome.broken.append
    if not attack.health_fails:
        if outcome.health.failures:
            judge(f"the health page failed {outcome.health.failures} times")
        if not outcome.health.latencies_ms:
            judge("the health page was never answered")
    if calm is None:
        return
    median, worst = outcome.health.percentile_ms(50), outcome.health.percentile_ms(100)
    if not attack.health_fails:
        if median > max(allowance * attack.health_ms, CALM_TIMES * calm.health.percentile_ms(50)):
            judge(f"the health page took {median:.0f} ms in the median")
        if worst > max(allowance * HEALTH_WORST_MS, CALM_TIMES * calm.health.percentile_ms(100)):
            judge(f"the health page took {worst:.0f} ms once")
    if attack.page_ms is None:
        return
    median, worst = outcome.page.percentile_ms(50), outcome.page.percentile_ms(100)
    if outcome.page.failures:
        judge(f"the page failed {outcome.page.failures} times")
    if median > max(allowance * attack.page_ms, CALM_TIMES * calm.page.percentile_ms(50)):
        judge(f"the page took {median:.0f} ms in the median")
    if worst > max(allowance * PAGE_WORST_MS, CALM_TIMES * calm.page.percentile_ms(100)):
        judge(f"the page took {worst:.0f} ms once")


def judge_recovery(worker: int, layer: str, before: Vitals, outcome: Outcome) -> None:
    """Wait until the worker has given back what it took; raises `OSError` if it has ended."""
    attack = outcome.attack
    # Tornado's layer leaves it to the allocator what becomes of freed memory: docs/security.md.
    kept_mb = attack.kept_mb if layer == "llhttp" else attack.memory_mb

    def excess() -> list[str]:
        now = Vitals.of(worker)
        bounds = (
            ("MB", now.memory_mb - before.memory_mb, kept_mb),
            ("threads", now.threads - before.threads, MORE_THREADS),
            ("descriptors", now.descriptors - before.descriptors, MORE_DESCRIPTORS),
        )
        return [f"{more:.0f} {what}" for what, more, bound in bounds if more > bound]

    try:
        poll(excess, until=lambda found: not found, deadline_s=AFTER_S)
    except AssertionError:
        outcome.broken.append(f"kept {', '.join(excess())} more than before")
