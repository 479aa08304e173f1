"""The URL map of both halves as one table, for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import flask

from flasknado.native.methods import methods_of
from flasknado.native.routes import NativeRoute, NativeRoutes

COLUMNS = ("METHODS", "PATTERN", "HALF", "ENDPOINT OR HANDLER")


class Row(NamedTuple):
    """One route: its methods separated by commas, its pattern, its half and its target."""

    methods: str
    pattern: str
    half: str
    target: str


def native_rows(routes: Iterable[NativeRoute]) -> list[Row]:
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


def wsgi_rows(app: flask.Flask) -> list[Row]:
    """Return a row for each rule of a Flask application, sorted by its pattern."""
    rows = [
        Row(",".join(sorted(rule.methods or ())), rule.rule, "flask", rule.endpoint)
        for rule in app.url_map.iter_rules()
    ]
    return sorted(rows, key=lambda row: row.pattern)


def render(rows: list[Row]) -> str:
    """Return the rows as a table with aligned columns."""
    table = [COLUMNS, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(COLUMNS))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    )
    return "\n".join(line.rstrip() for line in lines)
