"""Requests that may be sent twice and are done once.

A form has a hidden random key, an API request may have `Idempotency-Key`. The key is noted in the
transaction that does the work, so that both exist or neither; a second request with it waits for
the first one's commit, and then gets the first one's answer. A request that fails notes nothing.
See draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from http import HTTPStatus
from typing import Any, ParamSpec

from flask import current_app, flash, request
from flask.typing import ResponseReturnValue
from sqlalchemy import delete, select, tuple_
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import BadRequest, UnprocessableEntity
from werkzeug.wrappers import Response

from webapp.columns import utc_now
from webapp.extensions import db
from webapp.identity import current_user
from webapp.models import User
from webapp.records import DoneOnce

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
KEPT = timedelta(hours=24)
MAX_KEY_CHARACTERS = 255
SENT = "sent"
"""The category of the message that names a form that was done; never shown."""
_FORGOTTEN_AT_ONCE = 20

P = ParamSpec("P")


def begin(user: User, key: str, fingerprint: str) -> DoneOnce:
    """Note a request, or return the note of the same one from before, whose `status` is not 0.

    The caller does the work, fills the note with `finish()` and commits.

    Args:
        user: whose request it is.
        key: what names it.
        fingerprint: what it asks for: a request with the same key and another one is refused.

    Raises:
        UnprocessableEntity: the key was used for something else.
    """
    user_id, key, fingerprint = user.id, _digest(key), _digest(fingerprint)
    known = db.session.get(DoneOnce, (user_id, key))
    if known is None:
        note = DoneOnce(
            user_id=user_id, key=key, fingerprint=fingerprint, status=0, location="", body=""
        )
        db.session.add(note)
        try:
            db.session.flush()
        except IntegrityError:
            # The same request was under way, and is done now.
            db.session.rollback()
            known = db.session.get_one(DoneOnce, (user_id, key))
        else:
            return note
    if known.fingerprint != fingerprint:
        raise UnprocessableEntity(
            f"This {HEADER} was used for another request: use a new one for each request."
        )
    return known


def finish(note: DoneOnce, status: int, location: str = "", body: str = "") -> None:
    """Keep the answer; the caller commits. Some old notes are removed."""
    note.status, note.location, note.body = status, location, body
    names = DoneOnce.user_id, DoneOnce.key
    old = select(*names).where(DoneOnce.created_at < utc_now() - KEPT).limit(_FORGOTTEN_AT_ONCE)
    rows = [tuple(row) for row in db.session.execute(old)]
    if rows:
        db.session.execute(
            delete(DoneOnce).where(tuple_(*names).in_(rows)),
            execution_options={"synchronize_session": False},
        )


@dataclass
class Once:
    """Where a form leads to; `None` as long as it has not been done."""

    location: str | None


@contextmanager
def sent_once(form: Any, *contents: str) -> Iterator[Once]:
    """Do what a form asks for, if it has not been done; a context manager.

        with sent_once(form, form.title.data) as once:
            if once.location is None:
                once.location = url_for(".post", post_id=write(...).id)
        return redirect(once.location)

    Commits at the end, and tells the page after it which draft is of no more use.
    """
    key = form.form_key.data
    note = None
    if key and len(key) <= MAX_KEY_CHARACTERS:
        # Of a form that is changed and sent again, from the browser's history, both are done.
        named = "\0".join(("form", request.path, key, *contents))
        note = begin(current_user(), named, "")
    once = Once(note.location if note and note.status else None)
    yield once
    if note is not None and not note.status:
        finish(note, HTTPStatus.FOUND, once.location or "")
    db.session.commit()
    flash(key or "", SENT)


def idempotent(view: Callable[P, ResponseReturnValue]) -> Callable[P, Response]:
    """Commit what an API view has done; with an `Idempotency-Key`, do it only once."""

    @wraps(view)
    def once(*args: P.args, **kwargs: P.kwargs) -> Response:
        key = request.headers.get(HEADER)
        if key is None:
            response = current_app.make_response(view(*args, **kwargs))
            db.session.commit()
            return response
        if not 0 < len(key) <= MAX_KEY_CHARACTERS or not key.isascii() or not key.isprintable():
            raise BadRequest(f"{HEADER} must be 1 to {MAX_KEY_CHARACTERS} ASCII characters.")
        asked = f"{request.method} {request.full_path}\0{request.get_data(as_text=True)}"
        note = begin(current_user(), f"api\0{key}", asked)
        if note.status:
            return _replay(note)
        response = current_app.make_response(view(*args, **kwargs))
        body = response.get_data(as_text=True)
        finish(note, response.status_code, response.headers.get("Location", ""), body)
        db.session.commit()
        return response

    return once


def _replay(note: DoneOnce) -> Response:
    response = current_app.response_class(note.body, note.status, mimetype="application/json")
    response.headers[REPLAYED] = "true"
    if note.location:
        response.headers["Location"] = note.location
    return response


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
