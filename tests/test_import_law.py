"""The import law: which part of the project may import which (docs/architecture.md)."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
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

WEBAPP_OF_FLASKNADO = ("flasknado.live", "flasknado.socketio")

GROUND = (
    "durations error_stream errors exports flask_apps route_providers sizes stacks threads "
    "token_bucket unix_path"
)
LIVE_GROUND = (
    "live.errors live.event live.flask_cors live.formats live.html live.options live.origins "
    "live.revocation live.tickets live.wanted live.javascript live.compression"
)
STOREYS = {
    GROUND: GROUND,
    "http pool websocket": GROUND,
    "environ": f"{GROUND} http",
    "on_loop": f"{GROUND} http",
    "wsgi": f"{GROUND} http environ on_loop pool websocket.codec",
    "native": f"{GROUND} http environ pool websocket",
    "static": f"{GROUND} http",
    "stock": f"{GROUND} http wsgi native",
    "uploads": f"{GROUND} http wsgi native stock",
    "streaming": f"{GROUND} http on_loop wsgi.handoff",
    "server": f"{GROUND} http static wsgi native stock",
    "route_table": f"{GROUND} native ops",
    "ops": f"{GROUND} http environ pool wsgi native server",
    "debug": f"{GROUND} http static wsgi native server ops.logs",
    "process": f"{GROUND} http environ on_loop pool static wsgi native stock server ops debug",
    "__main__": "errors process",
    LIVE_GROUND: f"{GROUND} {LIVE_GROUND} http.encode websocket.codec",
    "live.client": "live.errors",
    "live.log": f"{GROUND} {LIVE_GROUND}",
    "live.hooks": f"{GROUND} {LIVE_GROUND} live.log",
    "live.runs": f"{GROUND} {LIVE_GROUND} http.request_id live.log on_loop",
    "live.state": f"{GROUND} {LIVE_GROUND} live.hooks live.log live.runs",
    "live.cli": f"{GROUND} {LIVE_GROUND} live.log live.state",
    "live.hub": f"{GROUND} {LIVE_GROUND} live.log live.runs live.state native.iostream",
    "live.cache": f"{GROUND} {LIVE_GROUND} live.log live.state live.hub http environ",
    "live.endpoints": f"{GROUND} {LIVE_GROUND} live.hooks live.log live.state live.hub "
    "live.said http.message native pool websocket.codec",
    "live.rendering": "",
    "live.said": f"{GROUND} {LIVE_GROUND} live.hooks live.log live.state",
    "live.blueprint": f"{GROUND} {LIVE_GROUND} live.said live.state live.response",
    "live.response": f"{GROUND} {LIVE_GROUND} live.state live.endpoints wsgi.handoff",
    "live.run_response": f"{GROUND} {LIVE_GROUND} live.log live.runs live.state live.response "
    "on_loop wsgi.handoff",
    "live.extension": f"{GROUND} {LIVE_GROUND} live.hooks live.log live.state live.cli "
    "live.rendering live.response live.run_response live.blueprint live.cache",
    "socketio": f"{GROUND} {LIVE_GROUND} live.hooks live.log live.state live.hub live.endpoints "
    "http.mailbox http.message native ops.metrics pool server stock.container websocket.codec",
}
"""The parts of `flasknado`, packages or modules, and what each may use beside itself."""

MAY_USE = {part: uses.split() for parts, uses in STOREYS.items() for part in parts.split()}

EXPORTING = {"flasknado", "flasknado.live", "flasknado.socketio"}
"""Packages that export what is in them; nothing in them imports them."""

PURE = [
    "flasknado.http.head",
    "flasknado.http.message",
    "flasknado.environ",
    "flasknado.wsgi.response_head",
    "flasknado.websocket.codec",
    "flasknado.live.event",
    "flasknado.live.formats",
    "flasknado.live.compression",
    "flasknado.live.html",
    "flasknado.live.tickets",
    "flasknado.socketio.engineio.packet",
    "flasknado.socketio.handlers",
    "flasknado.socketio.message",
    "flasknado.socketio.packet",
    "flasknado.socketio.room_names",
]
NOT_PURE = {"asyncio", "httptools", "selectors", "socket", "tornado", "uvloop"}

FLASK_SIDE = ["extension", "hooks", "state", "response", "cli", "blueprint", "rendering"]


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


@functools.cache
def imports_among(root: Path, package: str) -> dict[str, set[str]]:
    """Return which modules of a package import which, for types and inside functions, too."""
    paths = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (root / package).rglob("*.py")
    }
    found: dict[str, set[str]] = {module: set() for module in paths}
    for module, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found[module].update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if alias.name == "__version__":
                        continue  # not of anything that the package exports
                    # `from a import b` means the module b where there is one.
                    name = f"{node.module}.{alias.name}"
                    found[module].add(name if name in paths else str(node.module))
        found[module] &= paths.keys()
    return found


def top(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_part_imports_only_what_the_law_allows(part: str) -> None:
    files = files_of(part)
    assert files
    for path in files:
        used = {top(name) for name in imports_of(path)} & OURS
        assert used <= MAY_IMPORT[part], f"{path.relative_to(PROJECT_ROOT)} breaks the import law"


def test_webapp_uses_neither_tornado_nor_more_of_flasknado_than_its_extensions() -> None:
    for path in files_of("webapp"):
        for name in imports_of(path):
            assert top(name) != "tornado", path
            if top(name) == "flasknado":
                assert name.startswith(WEBAPP_OF_FLASKNADO), f"{path} imports {name}"


def part_of(module: str) -> str:
    """Return the part of `flasknado` that a module belongs to."""
    names = module.split(".")[1:]
    parts = (".".join(names[:length]) for length in range(len(names), 0, -1))
    part = next((part for part in parts if part in MAY_USE), None)
    assert part is not None, f"{module} is no part that the law knows: add it to STOREYS"
    return part


def is_within(module: str, part: str) -> bool:
    return f"{module}.".startswith(f"flasknado.{part}.")


def test_part_of_flasknado_uses_only_what_is_below_it() -> None:
    upward = [
        f"{module} -> {used}"
        for module, imports in imports_among(PROJECT_ROOT, "flasknado").items()
        if module not in EXPORTING
        for used in imports
        if part_of(module) != part_of(used)
        and not any(is_within(used, part) for part in MAY_USE[part_of(module)])
    ]
    assert not upward, upward


def test_parts_of_flasknado_stand_above_one_another() -> None:
    below = {
        part: {part_of(f"flasknado.{used}") for used in uses} - {part}
        for part, uses in MAY_USE.items()
        if part not in f"{GROUND} {LIVE_GROUND}".split()
    }
    TopologicalSorter(below).prepare()


def test_modules_of_flasknado_import_in_no_circle() -> None:
    TopologicalSorter(imports_among(PROJECT_ROOT, "flasknado")).prepare()


def test_circle_for_types_and_inside_a_function_is_found(tmp_path: Path) -> None:
    package = tmp_path / "ring"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ring.b"
    )
    (package / "b.py").write_text("def late():\n    from ring import a\n    return a")
    with pytest.raises(CycleError, match="cycle"):
        TopologicalSorter(imports_among(tmp_path, "ring")).prepare()


def test_log_of_live_events_imports_no_loop() -> None:
    for path in files_of("flasknado/live/log"):
        assert not {top(name) for name in imports_of(path)} & {"asyncio", "tornado", "uvloop"}, path


def loaded_by(*modules: str) -> set[str]:
    """Return what is loaded in a fresh interpreter that has imported these modules."""
    program = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", PURE)
def test_pure_module_when_imported_brings_no_loop_and_no_socket(module: str) -> None:
    loaded = loaded_by(module)
    assert module in loaded
    assert not loaded & NOT_PURE


def test_development_mode_is_not_imported_where_it_is_off() -> None:
    loaded = loaded_by("flasknado", "flasknado.process.cli", "flasknado.process.worker")
    assert "flasknado.process.serve" in loaded
    assert not {name for name in loaded if "debug" in name.partition("flasknado.")[2]}


def test_flask_side_of_socketio_when_imported_brings_no_tornado() -> None:
    loaded = loaded_by(*(f"flasknado.socketio.{name}" for name in ("extension", "context")))
    assert "flasknado.socketio.extension" in loaded
    assert not loaded & {"tornado", "uvloop", "httptools", "flasknado.live.hub"}


def test_flask_side_of_live_when_imported_brings_neither_tornado_nor_the_hub() -> None:
    loaded = loaded_by(*(f"flasknado.live.{name}" for name in FLASK_SIDE))
    assert "flasknado.live.extension" in loaded
    assert not loaded & {"tornado", "uvloop", "httptools", "flasknado.live.hub"}
