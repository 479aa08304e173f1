"""The pool alone: bounds, gauges, shedding, one context for each task."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator

import pytest

from flasknado.pool import Pool, PoolFull, Task
from tests.support.poll import poll

DEADLINE_S = 20.0


class Job(Task):
    """A task that calls something and says what became of it."""

    def __init__(self, call: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self._call = call
        self.done = threading.Event()
        self.shed_ = threading.Event()
        self.result: object = None

    def run(self) -> None:
        try:
            self.result = self._call()
        finally:
            self.done.set()

    def shed(self) -> None:
        self.shed_.set()

    def wait(self) -> object:
        assert self.done.wait(DEADLINE_S), "the task was not run"
        return self.result


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging tasks wait for; it opens at the end of the test."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def make_pool(gate: threading.Event) -> Iterator[Callable[..., Pool]]:
    pools: list[Pool] = []

    def make(threads: int = 1, queue_limit: int = 10) -> Pool:
        pools.append(Pool(threads, queue_limit, f"test-{len(pools)}"))
        return pools[-1]

    yield make
    gate.set()
    for pool in pools:
        pool.stop()
    poll(lambda: not thread_names("test-"))


def thread_names(beginning: str) -> list[str]:
    """Return the names of the living threads that begin so."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(beginning)]


def hang(pool: Pool, gate: threading.Event) -> None:
    """Have every thread of the pool wait for the gate."""
    for _ in range(pool.threads):
        pool.submit(Job(lambda: gate.wait(DEADLINE_S)))
    poll(lambda: pool.busy, until=lambda busy: busy == pool.threads)


def test_submit_runs_the_task_on_a_named_thread(make_pool: Callable[..., Pool]) -> None:
    job = Job(lambda: threading.current_thread().name)
    make_pool().submit(job)
    assert job.wait() == "test-0-0"


def test_pool_that_was_not_used_has_no_threads(make_pool: Callable[..., Pool]) -> None:
    make_pool(threads=50)
    assert not thread_names("test-0")


def test_tasks_are_run_in_the_order_of_their_coming(
    make_pool: Callable[..., Pool], gate: threading.Event
) -> None:
    pool = make_pool()
    hang(pool, gate)
    order: list[int] = []
    jobs = [Job(lambda n=n: order.append(n)) for n in range(10)]  # type: ignore[misc]
    for job in jobs:
        pool.submit(job)
    gate.set()
    jobs[-1].wait()
    assert order == list(range(10))


def test_submit_above_the_limit_raises_pool_full(
    make_pool: Callable[..., Pool], gate: threading.Event
) -> None:
    pool = make_pool(threads=2, queue_limit=3)
    hang(pool, gate)
    jobs = [Job() for _ in range(3)]
    for job in jobs:
        pool.submit(job)
    with pytest.raises(PoolFull, match="3 requests are waiting"):
        pool.submit(Job())
    gate.set()
    for job in jobs:
        job.wait()
    pool.submit(last := Job())
    last.wait()


def test_gauges_tell_what_runs_and_what_waits(
    make_pool: Callable[..., Pool], gate: threading.Event
) -> None:
    pool = make_pool(threads=2)
    assert (pool.busy, pool.queued, pool.idle) == (0, 0, True)
    hang(pool, gate)
    pool.submit(waiting := Job())
    assert (pool.busy, pool.queued, pool.idle) == (2, 1, False)
    gate.set()
    waiting.wait()
    poll(lambda: pool.idle)
    assert (pool.busy, pool.queued) == (0, 0)


def test_shedding_takes_the_old_and_leaves_the_young(
    make_pool: Callable[..., Pool], gate: threading.Event
) -> None:
    pool = make_pool()
    hang(pool, gate)
    old, young = Job(), Job()
    pool.submit(old)
    pool.submit(young)
    old.queued_at -= 60
    assert pool.shed_older_than(30) == 1
    assert old.shed_.is_set()
    assert not young.shed_.is_set()
    gate.set()
    young.wait()
    assert not old.done.is_set()


def test_shedding_makes_room_while_every_thread_hangs(
    make_pool: Callable[..., Pool], gate: threading.Event
) -> None:
    pool = make_pool(threads=2, queue_limit=3)
    hang(pool, gate)
    for _ in range(50):
        for _ in range(3):
            pool.submit(Job())
        assert pool.queued == 3
        assert pool.shed_older_than(-1) == 3
        assert pool.queued == 0
    last = Job()
    pool.submit(last)
    gate.set()
    last.wait()


def test_shedding_an_idle_pool_sheds_nothing(make_pool: Callable[..., Pool]) -> None:
    pool = make_pool()
    assert pool.shed_older_than(0) == 0
    pool.submit(job := Job())
    job.wait()
    assert pool.shed_older_than(-1) == 0


def test_every_task_is_either_run_or_shed_and_never_both(make_pool: Callable[..., Pool]) -> None:
    pool = make_pool(threads=4, queue_limit=5000)
    jobs = [Job() for _ in range(2000)]
    for number, job in enumerate(jobs):
        pool.submit(job)
        if number % 50 == 0:
            pool.shed_older_than(-1)
    poll(lambda: all(job.done.is_set() or job.shed_.is_set() for job in jobs))
    poll(lambda: pool.idle)
    assert not any(job.done.is_set() and job.shed_.is_set() for job in jobs)


def test_task_that_is_withdrawn_is_neither_run_nor_shed(
    make_pool: Callable[..., Pool], gate: threading.Event
) -> None:
    pool = make_pool()
    hang(pool, gate)
    withdrawn, next_ = Job(), Job()
    pool.submit(withdrawn)
    pool.submit(next_)
    assert pool.withdraw(withdrawn)
    assert pool.shed_older_than(60) == 0
    gate.set()
    next_.wait()
    assert not withdrawn.done.is_set()
    assert not withdrawn.shed_.is_set()


def test_task_that_has_begun_is_not_withdrawn(make_pool: Callable[..., Pool]) -> None:
    pool = make_pool()
    pool.submit(job := Job())
    job.wait()
    assert not pool.withdraw(job)


def test_short_tasks_wake_few_threads_and_long_ones_more(
    make_pool: Callable[..., Pool], gate: threading.Event
) -> None:
    pool = make_pool(threads=4, queue_limit=20)
    jobs = [Job(lambda: gate.wait(DEADLINE_S)) for _ in range(4)]
    for job in jobs:
        pool.submit(job, wake=False)

    assert pool.wake(at_once=2, patience_s=60)
    poll(lambda: pool.busy == 2)
    assert pool.wake(at_once=2, patience_s=60), "two have been awake for less than a minute"
    assert pool.busy == 2

    assert not pool.wake(at_once=2, patience_s=0), "both run for too long already"
    poll(lambda: pool.busy == 4)
    gate.set()
    for job in jobs:
        job.wait()


def test_task_that_raises_leaves_its_thread_alive(
    make_pool: Callable[..., Pool], caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool()

    def fail() -> None:
        raise SystemExit("not the thread's end")

    pool.submit(Job(fail))
    pool.submit(after := Job(threading.get_ident))
    assert after.wait()
    assert "a task of test-0-0 failed" in caplog.text


def test_each_task_runs_in_a_context_of_its_own(make_pool: Callable[..., Pool]) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    variable.set("the submitter's")

    def look_and_leave() -> str:
        seen = variable.get()
        variable.set("the last task's")
        return seen

    pool = make_pool()
    jobs = [Job(look_and_leave) for _ in range(3)]
    for job in jobs:
        pool.submit(job)
    assert [job.wait() for job in jobs] == ["unset"] * 3


def test_stop_lets_waiting_tasks_run_and_refuses_new_ones(
    make_pool: Callable[..., Pool], gate: threading.Event
) -> None:
    pool = make_pool()
    hang(pool, gate)
    pool.submit(waiting := Job())
    pool.stop()
    with pytest.raises(PoolFull):
        pool.submit(Job())
    gate.set()
    waiting.wait()
    poll(lambda: not thread_names("test-0"))


def test_pool_with_fewer_threads_than_asked_for_works_with_those(
    make_pool: Callable[..., Pool],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def start_two(thread: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_two)
    pool = make_pool(threads=5)
    for _ in range(10):
        pool.submit(job := Job())
        job.wait()
    assert len(started) == 2
    assert "only 2 of 5 threads" in caplog.text


def test_pool_whose_first_thread_does_not_start_is_full_and_tries_again(
    make_pool: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = make_pool()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(PoolFull, match="no thread"):
            pool.submit(Job())
    pool.submit(job := Job(lambda: "done"))
    assert job.wait() == "done"


def test_submit_after_stop_of_an_unused_pool_starts_no_thread(
    make_pool: Callable[..., Pool],
) -> None:
    pool = make_pool()
    pool.stop()
    with pytest.raises(PoolFull):
        pool.submit(Job())
    assert not thread_names("test-0")


def test_threads_that_could_not_be_started_are_started_later(
    make_pool: Callable[..., Pool],
    gate: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    start = threading.Thread.start
    pool = make_pool(threads=3)

    def start_one(thread: threading.Thread) -> None:
        if thread.name != "test-0-0":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_one)
        pool.submit(job := Job())
        job.wait()
        assert pool.running_limit == 1

    def running_limit() -> int:
        pool.submit(Job())
        return pool.running_limit

    poll(running_limit, lambda limit: limit == 3)
    hang(pool, gate)
    assert "only 1 of 3 threads" in caplog.text
    assert "all 3 threads have now been started" in caplog.text


def test_pool_that_grows_beside_a_thread_that_hangs_runs_what_waits(
    make_pool: Callable[..., Pool], gate: threading.Event
) -> None:
    pool = make_pool(threads=1)
    hang(pool, gate)
    pool.submit(job := Job(lambda: threading.current_thread().name))
    assert pool.grow()
    assert job.wait() == "test-0-1"
    assert (pool.threads, pool.running_limit) == (2, 2)


def test_pool_that_shrinks_loses_a_thread_and_grows_by_the_same_number_again(
    make_pool: Callable[..., Pool], gate: threading.Event
) -> None:
    pool = make_pool(threads=1)
    hang(pool, gate)
    for _ in range(3):
        assert pool.grow()
        pool.submit(job := Job())
        job.wait()
        pool.shrink()
        poll(lambda: thread_names("test-0"), lambda names: names == ["test-0-0"])
    assert (pool.threads, pool.running_limit, len(pool.workers)) == (1, 1, 2)
    gate.set()
    pool.submit(job := Job(lambda: "done"))
    assert job.wait() == "done"


def test_pool_that_cannot_grow_goes_on_as_it_is(
    make_pool: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = make_pool()
    pool.submit(job := Job())
    job.wait()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert not pool.grow()
    assert (pool.threads, pool.running_limit, pool.busy) == (1, 1, 0)
    assert pool.grow()


def test_task_that_is_set_aside_leaves_its_place_to_another_thread(
    make_pool: Callable[..., Pool], gate: threading.Event
) -> None:
    pool = make_pool(threads=1)
    held = Job(lambda: gate.wait(DEADLINE_S) and threading.current_thread().name)
    pool.submit(held)
    poll(lambda: pool.busy)
    [worker] = pool.workers
    pool.submit(job := Job(lambda: threading.current_thread().name))
    assert pool.set_aside(worker, held)
    assert job.wait() == "test-0-0"
    poll(lambda: pool.busy == 0)
    assert (pool.threads, len(pool.workers), pool.aside) == (1, 1, [worker])
    assert [task for _, task in pool.all_running()] == [held]
    assert pool.running_longer_than(0.0) == []
    assert not pool.idle
    assert not pool.set_aside(worker, held), "it has been already"
    gate.set()
    assert held.wait() == "test-0-aside-1"
    poll(lambda: pool.idle)
    poll(lambda: thread_names("test-0"), lambda names: names == ["test-0-0"])


def test_task_that_has_ended_is_not_set_aside(make_pool: Callable[..., Pool]) -> None:
    pool = make_pool()
    pool.submit(job := Job())
    job.wait()
    poll(lambda: pool.busy == 0)
    assert not pool.set_aside(pool.workers[0], job)
    assert len(thread_names("test-0")) == 1


def test_task_keeps_its_place_if_no_thread_can_be_started(
    make_pool: Callable[..., Pool], gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = make_pool()
    held = Job(lambda: gate.wait(DEADLINE_S))
    pool.submit(held)
    poll(lambda: pool.busy)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert not pool.set_aside(pool.workers[0], held)
    assert (pool.busy, pool.aside) == (1, [])
    gate.set()
    pool.submit(job := Job(lambda: "next"))
    assert job.wait() == "next"


def test_tasks_set_aside_while_they_end_lose_no_thread(make_pool: Callable[..., Pool]) -> None:
    pool = make_pool(threads=2, queue_limit=1000)
    for _ in range(200):
        pool.submit(first := Job())
        for worker in list(pool.workers):
            task = worker.task
            if task is not None:
                pool.set_aside(worker, task)
        first.wait()
    jobs = [Job() for _ in range(20)]
    for job in jobs:
        pool.submit(job)
    for job in jobs:
        job.wait()
    poll(lambda: pool.idle)
    poll(lambda: len(thread_names("test-0")), lambda count: count == 2)


def test_pool_that_is_stopped_ends_the_threads_aside_with_their_tasks(
    make_pool: Callable[..., Pool], gate: threading.Event
) -> None:
    pool = make_pool()
    held = Job(lambda: gate.wait(DEADLINE_S))
    pool.submit(held)
    poll(lambda: pool.busy)
    assert pool.set_aside(pool.workers[0], held)
    pool.stop()
    assert not pool.set_aside(pool.aside[0], held)
    gate.set()
    poll(lambda: not thread_names("test-0"))
