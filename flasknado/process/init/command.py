"""The command `flasknado init`."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

from flasknado.process import serve

USAGE: Final = """usage: flasknado init NAME

Writes a project into the new folder NAME: a Flask application with a factory, a database, live
updates and one native handler, its test, and a Makefile.
"""
TEMPLATES: Final = Path(__file__).with_name("project")
SUFFIX: Final = ".template"
PACKAGE: Final = "package"
"""What is named like the project among the templates."""
PLACEHOLDER: Final = "PROJECT_NAME"
SECRET_KEY: Final = Path("instance", "secret_key")

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,49}\Z")


def main(arguments: list[str]) -> NoReturn:
    """Write the project, say how to go on, and end with 0; with 1 and one sentence if it cannot.

    arguments: the command line after `init`.
    """
    if arguments in (["--help"], ["-h"]):
        sys.stdout.write(USAGE)
        raise SystemExit(0)
    if len(arguments) != 1:
        given = " ".join(arguments) or "nothing"
        serve.fail(f"init takes the name of one project, not {given}: flasknado init notes")
    [name] = arguments
    reason = _unfit(name)
    if reason is not None:
        serve.fail(f"{name!r} cannot be the name of a project: {reason}")
    folder = Path(name)
    try:
        folder.mkdir()
        for path, text in _files(name):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        _write_secret(folder / SECRET_KEY)
    except FileExistsError:
        serve.fail(f"{folder} is there already: choose another name, or remove it")
    except OSError as error:
        serve.fail(f"{folder} cannot be written: {error.strerror}")
    sys.stdout.write(f"{folder} is written: cd {folder}, then make test and make serve\n")
    raise SystemExit(0)


def _unfit(name: str) -> str | None:
    """Return why a name does not do for a package of Python, or None if it does."""
    if _NAME.match(name) is None:
        return (
            "it becomes a Python package, so use up to 50 lower-case letters, digits and "
            "underscores, beginning with a letter"
        )
    if keyword.iskeyword(name) or name in sys.stdlib_module_names:
        return "Python itself uses it"
    if name in ("tests", "instance"):
        return "a folder of the project is called that"
    # The folder of that name that may be here is no module: it is refused by itself.
    found = importlib.util.find_spec(name)
    if found is not None and found.origin is not None:
        return f"a package of that name is installed, in {Path(found.origin).parent}"
    return None


def _files(name: str) -> Iterator[tuple[Path, str]]:
    """Yield each file of a project, as a path below its folder, with its text."""
    for template in sorted(TEMPLATES.rglob(f"*{SUFFIX}")):
        parts = template.relative_to(TEMPLATES).with_suffix("").parts
        named = [part.replace("dot-", ".").replace(PACKAGE, name) for part in parts]
        yield Path(*named), template.read_text(encoding="utf-8").replace(PLACEHOLDER, name)


def _write_secret(path: Path) -> None:
    path.parent.mkdir()
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
