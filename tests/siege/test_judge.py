"""The judge itself: what it lets pass, and what not."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loadtests.bench.probe import Probed
from tests.siege.__main__ import as_table, parse
from tests.siege.attack import Attack, Report, Target
from tests.siege.attacks import ATTACKS
from tests.siege.attacks.calm import CALM, calm
from tests.siege.judge import Outcome, besiege, judge_latencies, judge_log
from tests.siege.setups import SETUPS, Besieged
from tests.siege.sockets import (
    all_closed,
    close_code,
    dribbling,
    frame,
    nothing,
    server_frames,
    swarm,
)
from tests.siege.vitals import Vitals, stretch

ATTACK = Attack("one", "an attack", calm, ("small",), health_ms=20, page_ms=100)
HEAD = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


def outcome(health: list[float], page: list[float], failures: int = 0) -> Outcome:
    return Outcome(ATTACK, "small", health=Probed(health, failures), page=Probed(page, 0))


@pytest.mark.parametrize(
    ("health", "page", "failures", "broken"),
    [
        ([1, 2, 19], [5, 50, 90], 0, []),
        ([1, 30, 31], [5], 0, ["the health page took 30 ms in the median"]),
        ([1, 2, 1500], [5], 0, ["the health page took 1500 ms once"]),
        ([1], [5, 150, 160], 0, ["the page took 150 ms in the median"]),
        ([1], [5], 2, ["the health page failed 2 times"]),
        (
            [],
            [5],
            0,
            ["the health page was never answered", "the health page took inf ms in the median"],
        ),
    ],
)
def test_latencies_are_judged_beside_those_at_rest(
    health: list[float], page: list[float], failures: int, broken: list[str]
) -> None:
    judged = outcome(health, page, failures)
    judge_latencies(judged, outcome([1, 1, 1], [5, 5, 5]))
    assert judged.broken[: len(broken)] == broken
    assert judged.held == (not broken)


def test_slow_machine_is_allowed_for() -> None:
    judged = outcome([50, 60, 70], [200, 300, 400])
    judge_latencies(judged, outcome([20, 20, 20], [100, 100, 100]))
    assert judged.held


def test_server_that_waited_for_a_core_is_allowed_as_much_longer() -> None:
    began = Vitals(60, 60, 1, loop_ran_s=1, loop_waited_s=0, threads=9, descriptors=9)
    ended = Vitals(60, 60, 3, loop_ran_s=3, loop_waited_s=4, threads=9, descriptors=9)
    assert stretch(began, ended) == 3
    assert stretch(began, began) == 1

    judged = outcome([50], [200])
    judge_latencies(judged, outcome([1], [1]), stretch(began, ended))
    assert judged.held


def test_without_a_measurement_at_rest_only_answers_count() -> None:
    judged = outcome([9000], [9000])
    judge_latencies(judged, None)
    assert judged.held


@pytest.mark.parametrize(
    ("log", "held"),
    [
        ("[INFO] Booting\n", True),
        ("[ERROR] x\n    Traceback (most recent call last):\n", False),
        ("[CRITICAL] WORKER TIMEOUT (pid:7)\n", False),
        ("[ERROR] Worker (pid:7) was sent SIGKILL! Perhaps out of memory?\n", False),
    ],
)
def test_log_is_judged(log: str, held: bool) -> None:
    judged = outcome([1], [1])
    judge_log(log, judged)
    assert judged.held == held


def test_worker_that_holds_and_one_that_dies_are_told_apart(
    tmp_path: Path,
) -> None:
    @contextlib.contextmanager
    def kill(besieged: Besieged) -> Iterator[None]:
        os.kill(besieged.worker, signal.SIGKILL)
        yield

    with SETUPS["small"](tmp_path) as besieged:
        kept = besiege(ATTACKS[CALM], "small", besieged, 0.3, None)
        assert kept.held, kept.broken
        assert kept.peak_mb > 10
        trouble = Besieged(besieged.process, "llhttp", "/", lambda: kill(besieged))
        killed = besiege(ATTACKS["garbage"], "small", trouble, 0.3, None)
    assert "the worker died" in killed.broken


def test_table_has_a_row_for_each_attack() -> None:
    failed = outcome([1.25], [2.5])
    failed.broken.append("a rule")
    lines = as_table([outcome([1.25], [2.5]), failed]).splitlines()
    assert len(lines) == 4
    assert "| held " in lines[2]
    assert "| FAILED " in lines[3]
    assert "1.2" in lines[2]


def test_unknown_attack_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--only", "calm,nonsense"])
    assert ended.value.code == 2
    assert "no attack is named 'nonsense'" in capsys.readouterr().err


def test_frames_of_a_server_are_read() -> None:
    close = b"\x88\x0b" + struct.pack("!H", 1008) + b"no pongs."
    long = b"\x81\x7e" + struct.pack("!H", 300) + b"x" * 300
    data = HEAD + b"\x81\x02hi" + long + close
    assert list(server_frames(data)) == [(1, b"hi"), (1, b"x" * 300), (8, close[2:])]
    assert close_code(data) == 1008
    assert close_code(HEAD + b"\x81\x02hi\x88") is None
    assert close_code(b"HTTP/1.1 400 Bad Request\r\n") is None


def test_frame_of_a_client_is_masked_by_zeros() -> None:
    assert frame(1, b"hi") == b"\x81\x82\x00\x00\x00\x00hi"
    assert frame(0, final=False) == b"\x00\x80\x00\x00\x00\x00"


def test_dribble_keeps_to_its_pace_and_begins_again() -> None:
    more: Callable[[float], bytes | None] = dribbling(b"ab", 1.0)
    assert [more(at) for at in (0.5, 1.0, 1.5, 2.0, 3.0)] == [None, b"a", None, b"b", b"a"]


def test_swarm_reports_answers_and_bytes(tmp_path: Path) -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with SETUPS["small"](tmp_path) as besieged:
        target = Target(besieged.process.port, "llhttp")
        report, senders = swarm(
            target, 10, lambda: (request, nothing), count=3, again=False, until=all_closed
        )
    assert report == Report(3 * len(request), report.answers, [])
    assert dict(report.answers) == {"200": 3}
    assert not any(sender.open for sender in senders)
