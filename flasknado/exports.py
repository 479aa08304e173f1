"""Names that a package exports and imports from elsewhere on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType

EXTRAS: Mapping[str, str] = {
    "flask": "flask",
    "flask_sqlalchemy": "live",
    "sqlalchemy": "live",
    "werkzeug": "flask",
}
"""Packages that `pip install flasknado` does not bring, each with the extra that does."""

LIVE = "flasknado.live"
"""What is in it needs more than it misses first."""


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return the `__getattr__` (PEP 562) of a package: each name is taken from its home."""

    def get(name: str) -> object:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(imported(home, f"{package}.{name}"), name)

    return get


def imported(module: str, what: str) -> ModuleType:
    """Return a module; `what` is the public name that needs it.

    Raises `ModuleNotFoundError` with what to install if it needs a package of an extra.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRAS:
            raise
        extra = "live" if what.startswith(LIVE) else EXTRAS[missing]
        raise ModuleNotFoundError(
            f"{what} needs {missing}, which is not installed: pip install 'flasknado[{extra}]'",
            name=error.name,
        ) from None
