"""`docs/api.md` names what is public, and nothing else of the package is shown to anybody."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

import flasknado
import flasknado.live
import flasknado.socketio
from flasknado.environ import REQUEST_ID_KEY
from flasknado.live.cli import group
from flasknado.live.origins import CORS_KEY
from tests.docs.api_reference import PAGE, PARTS
from tests.support.process import PROJECT_ROOT

PUBLIC = {
    "flasknado": flasknado,
    "flasknado.live": flasknado.live,
    "flasknado.socketio": flasknado.socketio,
}
PYTHON_FILES = [
    *PROJECT_ROOT.glob("examples/**/*.py"),
    *PROJECT_ROOT.glob("async_handlers/**/*.py"),
    *PROJECT_ROOT.glob("webapp/**/*.py"),
]
PAGES = [PROJECT_ROOT / "README.md", *PROJECT_ROOT.glob("docs/*.md")]
INSIDE = {"architecture.md", "http-safety.md"}
"""Pages that say how the package is made."""

KEYS = {
    "flasknado.cors",
    "flasknado.identity",
    "flasknado.peer_certificate",
    "flasknado.request_id",
    "flasknado.uploads",
}
"""Keys of environments and mappings, which only look like names of modules."""


def names_under(heading: str) -> list[str]:
    """Return the first column of the table under a heading of the page."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def find(name: str) -> object:
    """Return what a dotted name stands for; raises `AttributeError` if nothing."""
    parts = name.split(".")
    found: object = importlib.import_module(parts[0])
    for part in parts[1:]:
        if isinstance(found, ModuleType) and not hasattr(found, part):
            importlib.import_module(f"{found.__name__}.{part}")
        annotations = getattr(found, "__annotations__", {})  # what instances alone have
        found = annotations[part] if part in annotations else getattr(found, part)
    return found


def is_public(name: str) -> bool:
    """Whether a name is one of these modules, or exported by one of them, or below that."""
    if name in PUBLIC:
        return True
    return any(
        name.removeprefix(f"{home}.").partition(".")[0] in module.__all__
        for home, module in PUBLIC.items()
        if name.startswith(f"{home}.")
    )


def imports_of(source: str) -> Iterator[str]:
    """Yield the names of this package that a program imports or reaches through a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            if re.fullmatch(r"flasknado(\.\w+)+", dotted):
                yield dotted


def of_ours(names: Iterator[str]) -> set[str]:
    return {name for name in names if name.partition(".")[0] == "flasknado"}


@pytest.mark.parametrize("home", PUBLIC)
def test_page_names_every_public_name_and_no_other(home: str) -> None:
    named = names_under(home)

    assert {name for name in named if "." not in name} == set(PUBLIC[home].__all__)
    for name in named:
        assert find(f"{home}.{name}") is not None


@pytest.mark.parametrize(
    ("owner", "internal"),
    [
        (
            flasknado.live.Live,
            {"answer", "captured", "hears_of", "may_read", "may_stop", "presence_changed", "who"},
        ),
        (flasknado.live.OriginPolicy, set()),
        (flasknado.live.Client, set()),
        (flasknado.live.AsyncClient, set()),
        (flasknado.socketio.SocketIO, {"core", "options", "state"}),
        (flasknado.socketio.Namespace, set()),
        (flasknado.socketio.SocketIOTestClient, {"eio_sid"}),
    ],
)
def test_page_names_every_public_member(owner: type, internal: set[str]) -> None:
    homes = [cls for cls in owner.__mro__ if cls.__module__.startswith("flasknado.")]
    members = {name for cls in homes for name in vars(cls) if not name.startswith("_")} - internal
    named = {
        name.partition(".")[2]
        for name in names_under(".".join(owner.__module__.split(".")[:2]))
        if name.startswith(f"{owner.__name__}.")
    }

    assert members | {name for name in named if name in owner.__annotations__} == named


@pytest.mark.parametrize("home", PUBLIC)
def test_every_public_name_has_a_docstring_of_its_own(home: str) -> None:
    for name in PUBLIC[home].__all__:
        assert getattr(PUBLIC[home], name).__doc__, f"{home}.{name}"


@pytest.mark.parametrize("home", PUBLIC)
def test_name_that_is_not_exported_is_an_attribute_error(home: str) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        PUBLIC[home].Nothing  # noqa: B018


@pytest.mark.parametrize("name", PARTS)
def test_page_has_the_tables_as_the_code_has_them(name: str) -> None:
    part, text = PARTS[name]

    assert part.shown() == text(), "run: python -m tests.docs.api_reference"


def test_page_names_every_command_of_flask_live() -> None:
    commands = group.list_commands(click.Context(group))

    assert [f"flask live {name}" for name in commands] == sorted(names_under("Commands")[1:])


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_file_that_shows_how_it_is_used_imports_public_names_only(path: Path) -> None:
    names = of_ours(imports_of(path.read_text(encoding="utf-8")))

    assert [name for name in sorted(names) if not is_public(name)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_page_imports_and_names_public_names_only(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names = {name for block in blocks for name in of_ours(imports_of(inspect.cleandoc(block)))}
    if path.name not in INSIDE:
        words = re.findall(r"(?<![\w/.-])(?<!-m )flasknado(?:\.[A-Za-z]\w*)+(?![\w/])", text)
        names |= {word for word in words if not word.endswith((".service", ".db", ".py"))}

    assert [name for name in sorted(names - KEYS) if not is_public(name)] == []


def test_every_exception_of_the_package_is_a_flasknado_error() -> None:
    found = set()
    for module_info in pkgutil.walk_packages(flasknado.__path__, "flasknado."):
        module = importlib.import_module(module_info.name)
        found |= {
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, BaseException)
            and value.__module__.partition(".")[0] == "flasknado"
        }

    assert {error.__name__ for error in found} >= {"ConfigurationError", "Busy", "Refused"}
    assert [error for error in found if not issubclass(error, flasknado.FlasknadoError)] == []


def test_keys_of_mappings_are_what_the_page_says() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"`{CORS_KEY}`" in text
    assert f"`{REQUEST_ID_KEY}`" in text
