"""Bad settings, told in sentences: the offending value, the rule and the mend."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic.fields import FieldInfo

_URL_PASSWORD = re.compile(r"(//[^/:@]*):.*@")
_SHOWN_CHARACTERS = 80


class SettingsError(Exception):
    """Settings that the application cannot start with.

    `problems` has one sentence for each bad variable; `str(error)` is those sentences, one a line.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def settings_error(error: ValidationError, fields: Mapping[str, FieldInfo]) -> SettingsError:
    """Turn pydantic's report into a `SettingsError` that shows no secret."""
    problems = []
    for detail in error.errors(include_url=False):
        # A default that depends on another variable, which has its own sentence.
        if detail["type"] == "default_factory_not_called":
            continue
        name = str(detail["loc"][0])
        reason = str(detail["msg"]) if detail["type"] == "value_error" else ""
        problems.append(_sentence(name, detail["input"], reason, fields[name]))
    return SettingsError(*problems)


def _sentence(name: str, value: Any, reason: str, field: FieldInfo) -> str:
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    subject = name.upper() if extra["secret"] else f"{name.upper()}={_shown(value)}"
    because = f" because {reason.removeprefix('Value error, ')}" if reason else ""
    return f"{subject} is refused{because}: it must be {extra['rule']}; {extra['mend']}."


def _shown(value: Any) -> str:
    """Return the value as one short line, without the password that a URL may carry."""
    text = _URL_PASSWORD.sub(r"\1:***@", str(value))
    if len(text) > _SHOWN_CHARACTERS:
        text = text[:_SHOWN_CHARACTERS] + "..."
    return text if text.isprintable() else repr(text)
