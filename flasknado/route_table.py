"""The URL map of both halves as one table, for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from flasknado.native.methods import methods_of
from flasknado.native.routes import NativeRoute, NativeRoutes
from flasknado.ops.operations import routes as ops_routes

if TYPE_CHECKING:
    import flask

COLUMNS = ("METHODS", "PATTERN", "HALF", "ENDPOINT OR HANDLER")


def url_map(app: flask.Flask, handlers: Iterable[NativeRoute] = ()) -> str:
    """Return the routes of both halves as a table: methods, pattern, half, endpoint or handler.

    Native routes come first, in the order in which they are tried, with the host's own under
    `/-/` last; then the rules of the Flask application, sorted. From any thread.
    """
    return _render(_native_rows([*handlers, *ops_routes()]) + _wsgi_rows(app))


class Row(NamedTuple):
    """One route: its methods separated by commas, its pattern, its half and its target."""

    methods: str
    pattern: str
    half: str
    target: str


def _native_rows(routes: Iterable[NativeRoute]) -> list[Row]:
    """Return a row for each native route, in the order in which they are tried."""
    return [
        Row(
            ",".join(sorted(methods_of(spec.target))),
            spec.regex.pattern,
            "tornado",
            f"{spec.target.__module__}.{spec.target.__qualname__}",
        )
        for spec in NativeRoutes(routes).specs
    ]


def _wsgi_rows(app: flask.Flask) -> list[Row]:
    """Return a row for each rule of a Flask application, sorted by its pattern."""
    rows = [
        Row(",".join(sorted(rule.methods or ())), rule.rule, "flask", rule.endpoint)
        for rule in app.url_map.iter_rules()
    ]
    return sorted(rows, key=lambda row: row.pattern)


def _render(rows: list[Row]) -> str:
    """Return the rows as a table with aligned columns."""
    table = [COLUMNS, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(COLUMNS))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    )
    return "\n".join(line.rstrip() for line in lines)
