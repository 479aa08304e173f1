"""What the values of settings must be, as gunicorn has it: functions that return them or raise.

`RULES` says it in words, for the error that names the option and its value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from gunicorn.config import (
    ReloadExtraFiles,
    validate_bool,
    validate_chdir,
    validate_dict,
    validate_file_exists,
    validate_group,
    validate_list_string,
    validate_pos_int,
    validate_reload_engine,
    validate_string,
    validate_user,
)
from gunicorn.reloader import reloader_engines

from flasknado.http.body_limits import BodyLimits, split_rule
from flasknado.http.forwarded import checked_fields
from flasknado.http.networks import check_entry
from flasknado.ops.metrics.access import MIN_TOKEN_CHARS, NOBODY, is_token
from flasknado.server import LAYERS
from flasknado.sizes import size_bytes
from flasknado.static.files import checked_prefix

OF_THE_APPLICATION = "app"
"""What `static` says for the static folders of the application itself."""


def validate_seconds(value: Any) -> float:
    seconds = float(value)
    if not 0 < seconds < math.inf:
        raise ValueError(f"{value!r} is not above 0")
    return seconds


def validate_not_negative(value: Any) -> float:
    seconds = float(value)
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{value!r} is below 0")
    return seconds


def validate_share(value: Any) -> float:
    share = float(value)
    if not 0 < share <= 1:
        raise ValueError(f"{value!r} is not above 0 and at most 1")
    return share


def validate_size(value: Any) -> int:
    size = size_bytes(value, "the size")
    if size == 0:
        raise ValueError("the size is 0")
    return size


def validate_size_or_zero(value: Any) -> int:
    return size_bytes(value, "the size")


def validate_body_limits(value: Any) -> list[str]:
    """Take one rule, or several as a list, or as text with commas or line ends between them."""
    items = re.split(r"[,\n]", value) if isinstance(value, str) else list(value or ())
    rules = [str(item).strip() for item in items]
    rules = [rule for rule in rules if rule]
    BodyLimits(rules=dict(map(split_rule, rules)))
    return rules


def validate_static(value: Any) -> list[str]:
    """Take one folder, or several as a list, or as text with commas between them."""
    items = value.split(",") if isinstance(value, str) else list(value or ())
    texts = [str(item).strip() for item in items]
    for text in texts:
        prefix, separator, folder = text.partition("=")
        if text != OF_THE_APPLICATION and not (separator and folder):
            raise ValueError(f"{text!r} is no folder")
        if separator:
            checked_prefix(prefix)
    return texts


def validate_layer(value: Any) -> str:
    if value not in LAYERS:
        raise ValueError(f"there is no layer {value!r}")
    return str(value)


def validate_prefix(value: Any) -> str:
    text = str(value).strip()
    if text and (not text.startswith("/") or text.endswith("/")):
        raise ValueError(f"{value!r} is not a prefix")
    return text


def validate_networks(value: Any) -> list[str]:
    """Take what gunicorn takes for `forwarded_allow_ips`, and `unix`."""
    items = value if isinstance(value, list | tuple) else str(value or "").split(",")
    entries = [item.strip() for item in items if item.strip()]
    for entry in entries:
        check_entry(entry)
    return entries


def validate_trusted_fields(value: Any) -> list[str]:
    items = value.split(",") if isinstance(value, str) else list(value or ())
    names = [item for item in items if item.strip()]
    return sorted(checked_fields(() if names == ["none"] else names))


def validate_metrics_allow(value: Any) -> str:
    text = str(value or "").strip()
    if text != NOBODY:
        validate_networks(text)
    return text


def validate_token(value: Any) -> str | None:
    token: str | None = validate_string(value)
    if token and not is_token(token):
        raise ValueError("it could be guessed")
    return token


RULES: Mapping[Any, str] = {
    validate_seconds: "a number of seconds above 0",
    validate_not_negative: "a number of seconds, 0 or more",
    validate_share: "a number above 0 and at most 1",
    validate_size: "a whole number of bytes above 0, or one with K, M or G such as 64K",
    validate_size_or_zero: "a whole number of bytes, or one with K, M or G such as 64K",
    validate_layer: f"one of {', '.join(LAYERS)}",
    validate_prefix: "a path that begins with a slash and does not end with one, such as /shop",
    validate_static: "a path prefix and a folder, such as /static=web/static, or app",
    validate_token: f"at least {MIN_TOKEN_CHARS} ASCII characters without spaces",
    validate_bool: "true or false",
    validate_chdir: "an existing folder",
    validate_dict: "a dictionary",
    validate_file_exists: "an existing file",
    validate_group: "a group of this machine",
    ReloadExtraFiles.validator: "an existing file",
    validate_list_string: "a string or a list of strings",
    validate_pos_int: "a whole number, 0 or more",
    validate_reload_engine: f"one of {', '.join(reloader_engines)}",
    validate_string: "a string",
    validate_user: "a user of this machine",
}
"""What a value must be, by the function that validates it. The others explain it themselves."""
