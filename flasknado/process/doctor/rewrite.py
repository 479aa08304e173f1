"""A configuration file for this server, made from one for gunicorn. Pure."""

from __future__ import annotations

import ast
from collections.abc import Mapping

HEAD = "# Made by flasknado doctor --write{source}. Use it with: flasknado -c {name}\n"


def rewritten(source: str, reasons: Mapping[str, str], old_name: str, new_name: str) -> str:
    """Return a configuration file with bad settings commented out, and why.

    reasons: why a setting must go, by its name. Settings made in branches are listed at the top.
    """
    lines = source.splitlines()
    elsewhere = set(reasons)
    for node in reversed(ast.parse(source).body):
        names = _names(node) & set(reasons)
        if not names:
            continue
        elsewhere -= names
        assert node.end_lineno is not None
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(each.lineno for each in decorators)])
        old = [f"# {line}".rstrip() for line in lines[first - 1 : node.end_lineno]]
        why = [f"# flasknado: {reasons[name]}" for name in sorted(names)]
        lines[first - 1 : node.end_lineno] = [*why, *old]
    top = [
        f"# flasknado: remove this by hand: {reasons[name]}"
        for name in sorted(elsewhere)
        if name in source
    ]
    head = HEAD.format(source=f" from {old_name}", name=new_name)
    return head + "\n".join([*top, *lines]) + "\n"


def made(values: Mapping[str, object], new_name: str) -> str:
    """Return a configuration file that sets these values."""
    lines = [f"{name} = {value!r}" for name, value in values.items()]
    return HEAD.format(source="", name=new_name) + "\n".join(lines) + "\n"


def _names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return {node.name}
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign):
        targets = [node.target]
    elif isinstance(node, ast.ImportFrom | ast.Import):
        return {alias.asname or alias.name for alias in node.names}
    return {target.id for target in targets if isinstance(target, ast.Name)}
