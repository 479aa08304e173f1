"""What the forms share: the rules of `rules.py` as validators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask_wtf import FlaskForm
from wtforms import Field
from wtforms.validators import StopValidation


class ByRule:
    """Validate a field by a function of `rules.py`, and keep what it returns."""

    def __init__(self, rule: Callable[[str], str], *, required: bool = True) -> None:
        self.rule = rule
        # The browser is told to want a value, as WTForms' own InputRequired does.
        self.field_flags = {"required": True} if required else {}

    def __call__(self, form: FlaskForm, field: Any) -> None:  # noqa: ARG002
        try:
            field.data = self.rule(field.data or "")
        except ValueError as error:
            raise StopValidation(str(error)) from None


def refuse(field: Field, message: str) -> None:
    """Put a refusal beside a field after the form itself was found good."""
    field.errors = [*field.errors, message]
