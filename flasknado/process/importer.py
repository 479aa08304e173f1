"""Importing what the command line names: `MODULE:ATTRIBUTE`, or `MODULE:FACTORY()`.

The errors distinguish what a user has to fix: a missing module, a module that fails while
it is imported (its own traceback is kept as the cause), a missing attribute, a factory that
needs arguments.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from typing import Any

from flasknado.errors import ConfigurationError


class ImportFromStringError(ConfigurationError):
    """What the command line names cannot be imported; the message is one line."""


def import_from_string(uri: str, default: str | None = None) -> Any:
    """Return what `MODULE:ATTRIBUTE` names, or what `MODULE:FACTORY(literals)` returns.

    With a `default`, a bare `MODULE` means `MODULE:default`. Raises
    `ImportFromStringError`; an exception raised inside the module or the factory is
    its cause (`__cause__`).
    """
    module_name, colon, expression = uri.partition(":")
    if not module_name or (not expression and (colon or default is None)):
        raise ImportFromStringError(f"{uri!r} is not of the form MODULE:NAME, such as hello:app")
    _check_module_name(module_name, expression)
    module = _module(module_name)
    name, arguments = _parse(uri, expression or default or "")
    value: Any = module
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            hint = f"name the application, as in '{module_name}:app'"
            raise ImportFromStringError(
                f"the module {module_name!r} has no attribute {name!r}: "
                f"{'correct the name' if expression else hint}"
            ) from None
    if arguments is None:
        return value
    _check_factory(uri, f"{module_name}:{name}", value)
    return _call(uri, value, *arguments)


def _check_module_name(name: str, expression: str) -> None:
    if "/" in name or name.endswith(".py"):
        module = name.removesuffix(".py").removeprefix("./").strip("/").replace("/", ".")
        raise ImportFromStringError(
            f"{name!r} is a file name: name the module, as in '{module}:{expression}'"
        )
    if not all(part.isidentifier() for part in name.split(".")):
        raise ImportFromStringError(
            f"{name!r} is not a module name: write identifiers separated by dots"
        )


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise ImportFromStringError(
                f"there is no module {name!r}: run the command in the folder that contains it, or "
                f"correct the name"
            ) from None
        raise ImportFromStringError(f"the module {name!r} failed to import: {error}") from error
    except (Exception, SystemExit) as error:
        raise ImportFromStringError(
            f"the module {name!r} failed to import: {type(error).__name__}: {error}"
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


def _check_factory(uri: str, name: str, value: Any) -> None:
    if not callable(value):
        raise ImportFromStringError(
            f"{uri!r} is a call, but {name!r} is not callable (it is of type "
            f"{type(value).__name__}): write {name!r}"
        )
    if _takes_a_request(value):
        raise ImportFromStringError(f"{uri!r} calls an application, not a factory: write {name!r}")
    if inspect.iscoroutinefunction(value):
        raise ImportFromStringError(f"{uri!r} calls an async function: use a regular one")


def _takes_a_request(value: Any) -> bool:
    """Whether an object looks like an application, by the names that PEP 3333 uses."""
    try:
        return list(inspect.signature(value).parameters)[:2] == ["environ", "start_response"]
    except (TypeError, ValueError):
        return False  # a builtin without a signature


def _call(uri: str, factory: Any, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    try:
        inspect.signature(factory).bind(*arguments, **keywords)
    except TypeError as error:
        raise ImportFromStringError(
            f"{uri!r} has the wrong arguments: {error}; pass them as literals"
        ) from None
    except ValueError:
        pass  # a builtin without a signature: the call will tell
    return call_factory(uri, factory, *arguments, **keywords)


def call_factory(uri: str, factory: Any, *arguments: Any, **keywords: Any) -> Any:
    """Return what a factory returns; raises `ImportFromStringError` from what it raises."""
    try:
        return factory(*arguments, **keywords)
    except (Exception, SystemExit) as error:
        raise ImportFromStringError(
            f"the factory {uri!r} failed: {type(error).__name__}: {error}"
        ) from error


def takes(function: Any, *arguments: object) -> bool:
    """Return whether a callable takes these arguments, according to its signature."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:
        return True  # a builtin without a signature
    return True
