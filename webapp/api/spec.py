"""The API's own description (OpenAPI 3.1), from the models that its views take and give (SpecTree).

    @blueprint.post("")
    @documented("Posts", gives={201: schemas.Post}, also=(403,))
    def create(json: schemas.NewPost): ...

The same models check what is sent; what breaks a rule is answered in the API's own error shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flask import make_response, request
from pydantic import BaseModel, ValidationError
from spectree import Response as Answers
from spectree import SecurityScheme, SecuritySchemeData, SpecTree
from spectree.models import SecureType
from spectree.plugins.base import Context
from spectree.plugins.flask_plugin import FlaskPlugin
from werkzeug.exceptions import BadRequest, HTTPException, UnprocessableEntity

from webapp.api.parsing import json_object
from webapp.api.schemas import Error

ViewT = TypeVar("ViewT", bound=Callable[..., Any])

_DESCRIPTION = (
    "Everything that the site's pages do. Authenticate with a bearer token, from `/api/v1/tokens`"
    " or from the settings page, or with the session of the site's own pages; then a change needs"
    " the page's CSRF token in `X-CSRFToken`. Lists are in pages: pass `next_cursor` as `cursor`."
    " A `GET` has an `ETag`: send it back in `If-None-Match`, or in `If-Match` with a change. A"
    " `POST` with an `Idempotency-Key` is done once, however often it is sent within 24 hours."
)


class _Plugin(FlaskPlugin):
    """SpecTree for Flask, with this application's way to read JSON and to refuse it."""

    def request_validation(self, request: Any, query: Any, json: Any, *_others: Any) -> None:
        """Put what the request says into `request.context`, or raise 400, 415 or 422."""
        arguments = _checked(query, request.args.to_dict(), BadRequest) if query else None
        sent = _checked(json, json_object(), UnprocessableEntity) if json else None
        request.context = Context(arguments, sent, None, None, None)

    def validate_response(self, resp: Any, *_models: Any) -> tuple[Any, None]:
        """Return the view's answer as it is: the tests check it against the description."""
        return make_response(resp), None


spec = SpecTree(
    backend=_Plugin,
    mode="strict",
    title="Flasknado's publishing site",
    version="1",
    description=_DESCRIPTION,
    validation_error_model=Error,
    naming_strategy=lambda model: model.__name__,
    nested_naming_strategy=lambda _parent, child: child,
    security_schemes=[
        SecurityScheme(
            name="token",
            data=SecuritySchemeData(
                type=SecureType.HTTP, scheme="bearer", description="A JSON Web Token or API token."
            ),
        )
    ],
)


def documented(
    tag: str,
    *,
    gives: Mapping[int, type[BaseModel] | None],
    also: tuple[int, ...] = (),
    anybody: bool = False,
    **options: Any,
) -> Callable[[ViewT], ViewT]:
    """Describe a view, and check its `query` and `json` arguments by their models; a decorator.

    Args:
        tag: the group that it is shown in.
        gives: the model of the answer, by status.
        also: the statuses of the errors that are its own.
        anybody: whether it needs no identity.
        options: what `SpecTree.validate` takes beside these.
    """
    # A token that is not good is refused everywhere, though none is needed.
    errors = {400, 401, 429, *also}
    answers: dict[str, Any] = {f"HTTP_{status}": model for status, model in gives.items()}
    answers |= {f"HTTP_{status}": Error for status in errors}

    def describe(view: ViewT) -> ViewT:
        described: ViewT = spec.validate(
            resp=Answers(**answers),
            tags=[tag],
            security={} if anybody else {"token": []},
            operation_id=f"{view.__module__.rpartition('.')[2]}.{view.__name__}",
            **options,
        )(view)
        return described

    return describe


def description() -> dict[str, Any]:
    """Return the whole description as JSON; needs a request context."""
    whole: dict[str, Any] = {**spec.spec, "servers": [{"url": request.script_root or "/"}]}
    return whole


def _checked(model: Any, value: object, refusal: type[HTTPException]) -> BaseModel:
    try:
        checked: BaseModel = model.model_validate(value)
    except ValidationError as error:
        raise refusal(" ".join(_sentence(problem) for problem in error.errors())) from None
    return checked


def _sentence(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    match problem["type"]:
        case "missing":
            return f"{name} is missing."
        case "string_type":
            return f"{name} must be text."
        case "bool_type":
            return f"{name} must be true or false."
        case "value_error":
            message = str(problem["ctx"]["error"])
            return f"{name}: {message}" if name else message
        case _:
            return f"{name}={str(problem['input'])[:50]} is refused: {problem['msg']}."
