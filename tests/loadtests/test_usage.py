"""What others took of the server's core, told apart from what the server used itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from loadtests import usage
from loadtests.processes import Running, pinned
from loadtests.usage import Meter, Usage
from tests.loadtests.fakes import Fake, running_of
from tests.support.poll import poll

SPIN = "import time\nends = time.monotonic() + 60\nwhile time.monotonic() < ends: pass"


def test_meter_takes_the_servers_own_time_off_the_cores(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, server, busy = iter([100.0, 104.0]), iter([1.0, 3.0]), iter([50.0, 53.0])
    monkeypatch.setattr(usage.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(Running, "processor_s", lambda running: next(server))
    monkeypatch.setattr(usage, "busy_s", lambda core: next(busy))

    assert Meter(running_of(fake), [0]).read() == Usage(server_s=2.0, others_share=0.25)


def test_meter_of_a_server_without_a_core_of_its_own_says_nothing_of_others(fake: Fake) -> None:
    assert Meter(running_of(fake), []).read().others_share is None


def test_meter_sees_another_process_on_the_core(fake: Fake) -> None:
    core = min(os.sched_getaffinity(0))
    meter = Meter(running_of(fake), [core])
    with subprocess.Popen(pinned(core, [sys.executable, "-c", SPIN])) as spinning:
        try:
            assert poll(lambda: meter.read().others_share or 0.0, lambda share: share > 0.3)
        finally:
            spinning.kill()
