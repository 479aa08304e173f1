"""Rounds, goals, the report, and the command as a whole."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from loadtests.bench import __main__ as bench
from loadtests.bench import hello, report, rounds, wrk
from loadtests.bench.benchmark import FAILURES, PER_SECOND, Benchmark, Metric, Plan, Values
from loadtests.bench.rounds import Result
from loadtests.processes import Cores, Running
from loadtests.servers import OURS
from tests.loadtests.fakes import needs_wrk, program_server
from tests.support.poll import poll
from tests.support.process import PROJECT_ROOT

PLAN = Plan(Cores(None, None), seconds=1, rounds=2, warm_up_s=0)
SERVE = ("-m", "http.server", "{port}", "--bind", "127.0.0.1")


def benchmark(measure: Callable[[Running, Plan], Values], *servers: str) -> Benchmark:
    metrics = (Metric(PER_SECOND, "requests/s"), Metric(FAILURES, "failures"))
    return Benchmark("name", "Title", "Method.", servers, metrics, measure)


def result(**rates: list[float]) -> Result:
    names = {"ours": OURS, "tornado": "tornado-wsgi", "dev": "flask-dev"}
    found = Result(hello.BENCHMARK)
    for name, values in rates.items():
        found.rounds[names.get(name, name)] = [{PER_SECOND: rate, FAILURES: 0} for rate in values]
    return found


def test_rounds_are_interleaved_and_every_other_one_backwards() -> None:
    seen: list[str] = []

    def measure(running: Running, _plan: Plan) -> Values:
        seen.append(running.server.name)
        return {PER_SECOND: 1.0, FAILURES: 0}

    servers = {name: program_server(name, *SERVE) for name in ("a", "b")}
    found = rounds.run(benchmark(measure, "a", "b"), servers, PLAN, lambda line: None)

    assert seen == ["a", "b", "b", "a"]
    assert not found.failed


def test_rounds_server_that_fails_is_reported_and_the_others_go_on() -> None:
    servers = {
        "good": program_server("good", *SERVE),
        "bad": program_server("bad", "-c", "raise SystemExit('cannot')"),
    }
    measured = benchmark(lambda running, plan: {PER_SECOND: 5.0, FAILURES: 0}, "good", "bad")

    found = rounds.run(measured, servers, PLAN, lambda line: None)

    assert len(found.rounds["good"]) == 2
    assert "bad" not in found.rounds
    assert "cannot" in found.failed["bad"]


def test_equivalence_server_that_answers_otherwise_is_left_out() -> None:
    servers = [program_server("files", *SERVE)]

    failed = rounds.check_equivalence(servers, PLAN, lambda line: None)

    assert "GET /json was answered 404 instead of 200" in failed["files"]


def test_equivalence_server_that_takes_small_bodies_alone_is_not_asked_for_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        rounds.equivalence,
        "answers_of",
        lambda _address, questions: asked.extend(len(each.body or b"") for each in questions) or {},
    )
    small = dataclasses.replace(program_server("files", *SERVE), max_body_bytes=16_000)

    rounds.check_equivalence([small], PLAN, lambda line: None)

    assert asked
    assert max(asked) <= 16_000


def test_ratio_is_taken_inside_a_round() -> None:
    found = result(ours=[200.0, 20.0, 100.0], granian=[100.0, 10.0, 100.0])

    assert found.ratio("granian") == 2.0


def test_ratio_when_less_is_better_is_theirs_over_ours() -> None:
    found = Result(benchmark(lambda running, plan: {}, OURS, "other"))
    object.__setattr__(found.benchmark, "more_is_better", False)
    found.rounds = {OURS: [{PER_SECOND: 2.0}], "other": [{PER_SECOND: 8.0}]}

    assert found.ratio("other") == 4.0


def test_goals_name_the_best_of_the_others() -> None:
    found = result(ours=[400.0], granian=[300.0], tornado=[80.0], dev=[200.0])

    best, tornado, dev = hello.goals(found.medians())

    assert "granian" in best.text
    assert best.met
    assert tornado.met
    assert not dev.met
    assert str(dev) == "against flask-dev: 2.00 (at least 3): missed"


def test_report_has_the_best_first_of_each_group_ours_in_bold_and_failures_shown() -> None:
    found = result(ours=[300.0], bjoern=[500.0], granian=[400.0], dev=[100.0])
    found.rounds["flask-dev"][0][FAILURES] = 17

    lines = report.one_table(found).splitlines()

    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "granian",
        f"**{OURS}**",
        report.ONE_THREAD,
        "bjoern",
        "flask-dev",
    ]
    assert " 17 " in lines[6]
    assert lines[2].rstrip(" |").endswith("0.75")


def test_bench_without_wrk_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wrk, "find", lambda: None)

    assert bench.main(["--quick"]) == 1
    assert wrk.INSTALL_WRK in capsys.readouterr().out


@needs_wrk
def test_bench_when_interrupted_leaves_no_process_behind(
    marked: Callable[[], list[str]],
) -> None:
    options = ["--only", "hello", "--servers", OURS, "--seconds", "60"]
    command = [sys.executable, "-m", "loadtests.bench", *options]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) as run:
        poll(marked, lambda lines: any("wrk " in line for line in lines) or run.poll(), 60)

        run.send_signal(signal.SIGTERM)

        assert run.stdout is not None
        assert run.wait(30) == 130, run.stdout.read()
    assert marked() == []
