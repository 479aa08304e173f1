"""Numbers of several workers, added up by files: no counter ever goes backwards."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flasknado.durations import Durations
from flasknado.ops.metrics.model import COUNTER, GAUGE, HISTOGRAM, Family, labelled, single
from flasknado.ops.metrics.workers import DIED, ENDED_FILE, Snapshots


def families(count: float, duration_s: float = 0.01) -> list[Family]:
    durations = Durations()
    durations.add(duration_s)
    return [
        labelled(COUNTER, "requests", "Requests.", "route", {"/": count, f"/{count}": 1}),
        Family(HISTOGRAM, "durations", "Durations.", (), {(): durations.values()}),
        single(GAUGE, "busy", "Busy.", count),
    ]


def by_name(snapshots: Snapshots) -> dict[str, Family]:
    return {family.name: family for family in snapshots.total()}


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def write_as(snapshots: Snapshots, age: int, pid: int, count: float) -> None:
    """Write a snapshot as a worker with another process id would have."""
    snapshots.write(age, families(count))
    path = snapshots.folder / f"worker-{age}.json"
    path.write_text(path.read_text().replace(f"[{age}, {os.getpid()},", f"[{age}, {pid},"))


def test_total_of_live_workers_adds_counters_and_keeps_gauges_apart(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    snapshots.write(1, families(3))
    write_as(snapshots, 2, os.getppid(), 4)
    total = by_name(snapshots)
    assert total["requests"].samples == {("/",): 7, ("/3",): 1, ("/4",): 1}
    assert total["busy"].labels == ("worker",)
    assert total["busy"].samples == {(str(os.getpid()),): 3, (str(os.getppid()),): 4}
    histogram = total["durations"].samples[()]
    assert isinstance(histogram, list)
    assert (sum(histogram[:-1]), histogram[-1]) == (2, pytest.approx(0.02))
    assert total["workers"].samples == {(): 2}


def test_total_after_a_crash_keeps_its_counters_and_drops_its_gauges(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    snapshots.write(1, families(3))
    write_as(snapshots, 2, ended_process(), 4)
    for _ in range(3):
        total = by_name(snapshots)
        assert total["requests"].samples[("/",)] == 7
        assert total["busy"].samples == {(str(os.getpid()),): 3}
        assert total["workers_ended"].samples == {(DIED,): 1}
        assert total["workers_started"].samples == {(): 2}
    assert sorted(path.name for path in tmp_path.glob("*.json")) == [ENDED_FILE, "worker-1.json"]


def test_total_after_a_worker_has_said_that_it_ends_counts_its_reason(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    snapshots.write(1, families(3), ended="recycle")
    snapshots.write(2, families(1), ended="recycle")
    snapshots.write(3, families(1))
    total = by_name(snapshots)
    assert total["workers_ended"].samples == {("recycle",): 2}
    assert total["requests"].samples[("/",)] == 5
    assert total["workers"].samples == {(): 1}


def test_total_if_folding_was_cut_off_before_the_files_went_counts_nobody_twice(
    tmp_path: Path,
) -> None:
    snapshots = Snapshots(tmp_path)
    snapshots.write(1, families(3), ended="reload")
    kept = (tmp_path / "worker-1.json").read_text()
    snapshots.fold()
    (tmp_path / "worker-1.json").write_text(kept)
    for _ in range(2):
        total = by_name(snapshots)
        assert total["requests"].samples[("/",)] == 3
        assert total["workers_ended"].samples == {("reload",): 1}


def test_total_while_another_process_folds_waits_for_nothing(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    snapshots.write(1, families(3), ended="reload")
    with snapshots._lock() as held:
        assert held
        assert by_name(snapshots)["requests"].samples[("/",)] == 3
        assert not (tmp_path / ENDED_FILE).exists()


@given(
    st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["count", "end", "ask"])), max_size=40)
)
def test_counter_in_any_order_of_events_never_goes_backwards(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[int, str]]
) -> None:
    snapshots = Snapshots(tmp_path_factory.mktemp("snapshots"))
    counts: dict[int, int] = {}
    over: set[int] = set()
    for age, event in events:
        if age in over:
            continue
        if event == "ask":
            if counts:
                assert by_name(snapshots)["requests"].samples[("/",)] == sum(counts.values())
            continue
        counts[age] = counts.get(age, 0) + 1
        snapshots.write(age, families(counts[age])[:1], "reload" if event == "end" else None)
        if event == "end":
            over.add(age)


def test_total_asked_on_several_threads_while_workers_end_never_goes_backwards(
    tmp_path: Path,
) -> None:
    snapshots = Snapshots(tmp_path)
    snapshots.write(0, families(1))
    seen: list[list[float]] = []
    done = threading.Event()

    def ask() -> None:
        mine: list[float] = []
        while not done.is_set():
            value = by_name(snapshots)["requests"].samples[("/",)]
            assert not isinstance(value, list)
            mine.append(value)
        seen.append(mine)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for age in range(1, 100):
        snapshots.write(age, families(1))
        snapshots.write(age, families(1), ended="recycle")
    done.set()
    for thread in threads:
        thread.join()
    assert len(seen) == 3
    assert all(mine == sorted(mine) for mine in seen)
    assert by_name(snapshots)["requests"].samples[("/",)] == 100


def test_snapshot_that_cannot_be_written_is_said_once_and_harms_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    snapshots = Snapshots(tmp_path / "gone")
    snapshots.write(1, families(1))
    snapshots.write(1, families(2))
    assert len(caplog.records) == 1
