"""Lists in pages by cursor: stable while new rows arrive, and as fast on the last page.

A cursor is the id of the last row that was shown, as text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flask import request
from sqlalchemy import Select
from werkzeug.exceptions import BadRequest

from webapp.extensions import db

T = TypeVar("T")
_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list, and the cursor of the next one if there is one."""

    items: list[T]
    next_cursor: str | None


def page_of(
    statement: Select[T],
    column: Any,
    *,
    limit: int,
    cursor: int | None,
    ascending: bool = False,
) -> Page[T]:
    """Return `limit` rows of `statement` after `cursor`, in the order of the id `column`."""
    if cursor is not None:
        statement = statement.where(column > cursor if ascending else column < cursor)
    statement = statement.order_by(column if ascending else column.desc()).limit(limit + 1)
    rows = list(db.session.scalars(statement))
    more = len(rows) > limit
    rows = rows[:limit]
    last: Any = rows[-1] if rows else None
    return Page(rows, str(last.id) if more else None)


def cursor_argument(name: str = "cursor") -> int | None:
    """Return the cursor in the request's query, or raise `BadRequest` (400)."""
    value = request.args.get(name)
    if value is None:
        return None
    if not _NUMBER.fullmatch(value):
        raise BadRequest(f"{name}={value} is no cursor: take it from the answer before.")
    return int(value)


def limit_argument(default: int, maximum: int) -> int:
    """Return the page size in the request's query, or raise `BadRequest` (400)."""
    value = request.args.get("limit")
    if value is None:
        return default
    if not _NUMBER.fullmatch(value) or not 1 <= int(value) <= maximum:
        raise BadRequest(f"limit={value} is refused: it must be a number from 1 to {maximum}.")
    return int(value)
