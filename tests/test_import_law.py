"""The import law: which part of the project may import which (docs/architecture.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT_ROOT = Path(__file__).resolve().parent.parent

OURS = {"async_handlers", "config", "flasknado", "loadtests", "server", "tests", "webapp"}

MAY_IMPORT: dict[str, set[str]] = {
    "flasknado": {"flasknado"},
    "config": {"config"},
    "webapp": {"webapp", "config", "flasknado"},
    "async_handlers": {"async_handlers", "flasknado"},
    "server.py": {"async_handlers", "config", "flasknado", "webapp"},
    "loadtests": {"loadtests", "config", "flasknado", "webapp", "async_handlers"},
}

WEBAPP_OF_FLASKNADO = "flasknado.live"

PURE = [
    "flasknado/environ.py",
    "flasknado/wsgi/response_head.py",
    "flasknado/http/head.py",
    "flasknado/live/event.py",
    "flasknado/live/formats.py",
    "flasknado/websocket/codec.py",
]
NOT_PURE = {"tornado", "asyncio", "socket", "selectors", "uvloop", "httptools"}


def files_of(part: str) -> list[Path]:
    path = PROJECT_ROOT / part
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def imports_of(path: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports, wherever in it the statement stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively: write the whole name"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_part_imports_only_what_the_law_allows(part: str) -> None:
    files = files_of(part)
    assert files
    for path in files:
        used = {top(name) for name in imports_of(path)} & OURS
        assert used <= MAY_IMPORT[part], f"{path.relative_to(PROJECT_ROOT)} breaks the import law"


def test_webapp_uses_neither_tornado_nor_more_of_flasknado_than_live() -> None:
    for path in files_of("webapp"):
        for name in imports_of(path):
            assert top(name) != "tornado", path
            if top(name) == "flasknado":
                assert name.startswith(WEBAPP_OF_FLASKNADO), f"{path} imports {name}"


HALVES = {
    "flasknado/native": ("flasknado.wsgi", "flasknado.stock", "flasknado.server"),
    "flasknado/environ.py": ("flasknado.wsgi", "flasknado.native", "flasknado.stock"),
    "flasknado/pool.py": ("flasknado.wsgi", "flasknado.native", "flasknado.stock"),
}
"""Parts, each with what it may not import: the halves know nothing of each other."""


@pytest.mark.parametrize("part", HALVES)
def test_half_imports_nothing_of_the_other_and_of_what_is_above(part: str) -> None:
    for path in files_of(part):
        for name in imports_of(path):
            assert not f"{name}.".startswith(tuple(f"{each}." for each in HALVES[part])), (
                f"{path.relative_to(PROJECT_ROOT)} imports {name}"
            )


@pytest.mark.parametrize("part", PURE)
def test_pure_module_imports_no_loop_and_no_socket(part: str) -> None:
    assert not {top(name) for name in imports_of(PROJECT_ROOT / part)} & NOT_PURE


def test_extension_when_imported_brings_neither_tornado_nor_the_hub() -> None:
    program = (
        "import sys; from flasknado.live import Live; "
        "print(*[name for name in sys.modules "
        "if name.partition('.')[0] == 'tornado' or name == 'flasknado.live.hub.hub'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == ""
