"""The writer of the access log: order, the bound, and everything that can be wrong with a file."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from flasknado.ops.logs import writer
from flasknado.ops.logs.writer import LogWriter


class Noted(logging.Handler):
    """A handler that gunicorn does not make, such as one of a logging configuration."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def logger_with(handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger("access")  # noqa: LOG001 (the test's own)
    handler.setFormatter(handler.formatter or logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    return logger


@contextlib.asynccontextmanager
async def writing(logger: logging.Logger, limit: int = 1 << 20) -> AsyncIterator[LogWriter[int]]:
    writer = LogWriter(logger, asyncio.get_running_loop(), str, limit)
    yield writer
    writer.close(5.0)


def run(call: Callable[[], object]) -> None:
    async def main() -> None:
        result = call()
        assert asyncio.iscoroutine(result)
        await result

    asyncio.run(main())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing_end = os.pipe()
    yield reading, writing_end
    for fd in (reading, writing_end):
        with contextlib.suppress(OSError):
            os.close(fd)


def test_notes_and_lines_are_all_written_in_order_by_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        handler = logging.FileHandler(tmp_path / "log")
        async with writing(logger_with(handler)) as writer:
            for number in range(5000):
                writer.note(number)
            writer.close(5.0)
        handler.close()

    run(main)
    assert (tmp_path / "log").read_text().split() == [str(n) for n in range(5000)]


def test_lines_of_a_quiet_server_are_written_soon(tmp_path: Path) -> None:
    async def main() -> None:
        handler = logging.FileHandler(tmp_path / "log")
        async with writing(logger_with(handler)) as writer:
            writer.note(1)
            writer.write("two")
            await until(lambda: (tmp_path / "log").read_text().count("\n") == 2)
        handler.close()

    run(main)


def test_handler_of_a_logging_configuration_gets_a_record_for_each_line() -> None:
    handler = Noted()

    async def main() -> None:
        async with writing(logger_with(handler)) as writer:
            writer.write("100 % of one")
            writer.note(2)

    run(main)
    assert sorted(handler.lines) == ["100 % of one", "2"]


def test_pipe_that_nobody_reads_loses_counted_lines_and_never_blocks_the_loop(
    pipe: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    reading, writing_end = pipe
    line = "x" * 99

    async def main() -> None:
        with os.fdopen(os.dup(writing_end), "w") as stream:
            writer = LogWriter[int](
                logger_with(logging.StreamHandler(stream)),
                asyncio.get_running_loop(),
                lambda _: line,
                200_000,
            )
            for _ in range(20_000):
                writer.note(1)
            await until(lambda: writer.lines_dropped)
            dropped = writer.lines_dropped
            assert 0 < dropped < 20_000
            assert writer.waiting <= 200_000
            read = 0
            while writer.waiting or select.select([reading], [], [], 0)[0]:
                if select.select([reading], [], [], 0)[0]:
                    read += os.read(reading, 65536).count(b"\n")
                await asyncio.sleep(0)
            writer.note(1)
            writer.close(5.0)
            read += os.read(reading, 65536).count(b"\n")
            assert read == 20_001 - dropped

    run(main)
    assert "the access log cannot keep up: lines are being dropped" in caplog.messages
    assert any("lines were lost" in message for message in caplog.messages)


def test_lines_of_several_processes_in_one_pipe_stay_whole(pipe: tuple[int, int]) -> None:
    data = b"".join(b"%0100d\n" % number for number in range(1000))
    pieces = writer._pieces(pipe[1], data)
    assert b"".join(pieces) == data
    assert len(pieces) > 1
    assert all(len(piece) <= select.PIPE_BUF and piece.endswith(b"\n") for piece in pieces)


def test_pipe_that_does_not_block_is_waited_for_on_the_thread(pipe: tuple[int, int]) -> None:
    reading, writing_end = pipe
    os.set_blocking(writing_end, False)

    async def main() -> None:
        with os.fdopen(os.dup(writing_end), "w") as stream:
            async with writing(logger_with(logging.StreamHandler(stream))) as writer:
                for _ in range(2000):
                    writer.write("y" * 99)
                read = 0
                async with asyncio.timeout(20):
                    while read < 200_000:
                        if select.select([reading], [], [], 0)[0]:
                            read += len(os.read(reading, 65536))
                        await asyncio.sleep(0)
                assert writer.lines_dropped == 0

    run(main)


def test_log_that_cannot_be_written_is_counted_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        handler = logging.FileHandler("/dev/full")
        async with writing(logger_with(handler)) as writer:
            writer.write("one")
            await until(lambda: writer.lines_dropped == 1)
            writer.write("two")
            await until(lambda: writer.lines_dropped == 2)
        handler.close()

    run(main)
    assert sum("cannot be written" in message for message in caplog.messages) == 1


def test_line_after_the_end_is_counted_as_lost() -> None:
    async def main() -> None:
        async with writing(logger_with(Noted())) as writer:
            writer.close(5.0)
            writer.write("late")
            writer._hand_over()
            assert writer.lines_dropped == 1

    run(main)


def test_lines_wait_for_a_thread_that_cannot_be_started_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    noted = Noted()

    async def main() -> None:
        async with writing(logger_with(noted)) as writer:
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", refuse)
                writer.write("early")
                await until(lambda: writer.waiting)
                assert noted.lines == []
            writer.write("late")
            await until(lambda: len(noted.lines) == 2)
        assert noted.lines == ["early", "late"]
        assert writer.lines_dropped == 0

    run(main)
