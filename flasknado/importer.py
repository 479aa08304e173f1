"""Importing what the command line names: `MODULE:ATTRIBUTE`, or `MODULE:FACTORY()`.

The errors tell apart what a user must mend: no such module, a module that fails while it
is imported (its own traceback is kept as the cause), no such attribute, a factory that
needs arguments.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from typing import Any

from flasknado.errors import ConfigurationError


class ImportFromStringError(ConfigurationError):
    """A name on the command line that leads to nothing; one sentence."""


def import_from_string(uri: str, default: str | None = None) -> Any:
    """Return what `MODULE:ATTRIBUTE` names, or what `MODULE:FACTORY(literals)` returns.

    With a `default`, a bare `MODULE` means `MODULE:default`. Raises
    `ImportFromStringError`; an exception raised inside the module or the factory is
    its cause (`__cause__`).
    """
    module_name, colon, expression = uri.partition(":")
    if not module_name or (not expression and (colon or default is None)):
        raise ImportFromStringError(f"{uri!r} is not of the form MODULE:NAME, as hello:app is")
    module = _module(module_name)
    name, arguments = _parse(uri, expression or default or "")
    value: Any = module
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise ImportFromStringError(
                f"the module {module_name!r} has no attribute {name!r}: correct the name"
            ) from None
    return value if arguments is None else _call(uri, value, *arguments)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise ImportFromStringError(
                f"there is no module {name!r} here: run from the folder that holds it, or correct "
                f"the name"
            ) from None
        raise ImportFromStringError(f"the module {name!r} fails to import: {error}") from error
    except Exception as error:
        raise ImportFromStringError(
            f"the module {name!r} fails to import: {type(error).__name__}: {error}"
        ) from error


def _parse(uri: str, expression: str) -> tuple[str, tuple[list[Any], dict[str, Any]] | None]:
    """Return the dotted name and, if it is called, the arguments."""
    problem = ImportFromStringError(
        f"{expression!r} in {uri!r} is neither a name nor a call with literal arguments"
    )
    try:
        node = ast.parse(expression, mode="eval").body
        if not isinstance(node, ast.Call):
            return _dotted(node), None
        arguments = [ast.literal_eval(argument) for argument in node.args]
        keywords = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
        return _dotted(node.func), (arguments, keywords)
    except (SyntaxError, ValueError):
        raise problem from None


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Name):
        return node.id
    raise ValueError("not a dotted name")


def _call(uri: str, factory: Any, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    try:
        inspect.signature(factory).bind(*arguments, **keywords)
    except TypeError as error:
        raise ImportFromStringError(
            f"{uri!r} does not fit its factory: {error}; give what it needs as literals"
        ) from None
    except ValueError:
        pass  # a builtin without a signature: the call will tell
    try:
        return factory(*arguments, **keywords)
    except Exception as error:
        raise ImportFromStringError(
            f"the factory {uri!r} fails: {type(error).__name__}: {error}"
        ) from error
