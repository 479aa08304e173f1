"""The table of servers: complete, installable, and honest about what is missing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from loadtests.bench.suite import BENCHMARKS
from loadtests.processes import free_port, group_members, running
from loadtests.servers import (
    OURS,
    OURS_COMPILED,
    OURS_ON_STOCK,
    SERVERS,
    Server,
    Target,
    with_workers,
)


@pytest.mark.parametrize("server", SERVERS.values(), ids=str)
def test_server_command_and_files_are_filled_from_the_target(server: Server) -> None:
    target = Target(12345, "somewhere", "module_of_the_app", "attribute_of_the_app")
    texts = [target.fill(text) for text in (*server.command, *server.files.values())]

    assert any("12345" in text for text in texts)
    assert any("module_of_the_app" in text for text in texts)
    assert server.install
    assert server.good_at


def test_server_that_is_installed_tells_its_version() -> None:
    assert SERVERS[OURS].installed_version() is not None


def test_server_with_workers_is_started_with_as_many() -> None:
    server = with_workers(3)
    command = " ".join(map(Target(0, "", workers=server.workers).fill, server.command))

    assert "--workers 3 " in command
    assert "--workers 1 " in " ".join(map(Target(0, "").fill, SERVERS[OURS].command))
    assert (server.name, server.native) == (f"{OURS}-3-workers", True)


def test_server_that_is_not_installed_has_no_version() -> None:
    missing = dataclasses.replace(SERVERS[OURS], version=("no-such-program", "--version"))

    assert missing.installed_version() is None


def test_every_benchmark_is_for_servers_of_the_table_and_for_ours() -> None:
    for benchmark in BENCHMARKS.values():
        assert set(benchmark.servers) <= set(SERVERS)
        assert {OURS, OURS_ON_STOCK} <= set(benchmark.servers)


def test_server_that_is_compiled_runs_what_is_compiled(tmp_path: Path) -> None:
    server = SERVERS[OURS_COMPILED]
    if server.installed_version() is None:
        pytest.skip(f"{server.name} is not installed: run {server.install}")

    with running(server, Target(free_port(), str(tmp_path))) as it:
        maps = [Path(f"/proc/{pid}/maps").read_text() for pid in group_members(it.pid)]

    assert any("flasknado/http/connection.cpython" in text for text in maps)
