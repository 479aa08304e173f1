"""Reading the JSON of a request: 415 and 400 for what is not JSON, 422 for what breaks a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import request
from werkzeug.exceptions import BadRequest, UnprocessableEntity


def json_object() -> dict[str, Any]:
    """Return the request's JSON object.

    Raises:
        UnsupportedMediaType: the body is not declared as JSON (415).
        BadRequest: the body is not JSON (400).
        UnprocessableEntity: it is JSON, and not an object (422).
    """
    try:
        payload = request.get_json()
    except RecursionError:
        raise BadRequest("The JSON is nested too deeply.") from None
    except BadRequest as error:
        if error.code != BadRequest.code:
            raise
        raise BadRequest("The body is not valid JSON.") from error
    if not isinstance(payload, dict):
        raise UnprocessableEntity("Send a JSON object, such as {}.")
    return payload


def texts(rules: Mapping[str, Callable[[str], str]], *, partial: bool = False) -> dict[str, str]:
    """Return the request's text fields, each as its rule keeps it.

    Args:
        rules: a field's name and its rule, a function of `webapp.rules`.
        partial: take fewer fields than all, at least one.

    Raises:
        UnprocessableEntity: with a sentence for each field that is missing or refused (422),
            beside what `json_object()` raises.
    """
    payload = json_object()
    kept: dict[str, str] = {}
    problems: list[str] = []
    for name, rule in rules.items():
        if name not in payload:
            if not partial:
                problems.append(f"{name} is missing.")
        elif not isinstance(payload[name], str):
            problems.append(f"{name} must be text.")
        else:
            try:
                kept[name] = rule(payload[name])
            except ValueError as error:
                problems.append(f"{name}: {error}")
    if not kept and not problems:
        problems.append(f"Send at least one of {', '.join(rules)}.")
    if problems:
        raise UnprocessableEntity(" ".join(problems))
    return kept
