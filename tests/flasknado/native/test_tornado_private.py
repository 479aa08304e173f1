"""Tornado's private names are used in one file, and all of them are there in this Tornado."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from tornado.httputil import HTTPHeaders

from flasknado.native import tornado_private
from tests.support.process import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "flasknado"
HOME = PACKAGE / "native" / "tornado_private.py"


def test_private_names_of_tornado_stand_in_one_file() -> None:
    source = HOME.read_text(encoding="utf-8")
    names = set(re.findall(r"\b\w+\.(_[a-z]\w+)", source))
    names |= set(re.findall(r"import (_\w+) as", source))
    names -= {"_connections", "_sockets"}  # this package has such names of its own
    assert len(names) > 10
    used = re.compile("|".join(rf"(?<!self\.)\b{name}\b" for name in sorted(names)))
    for path in PACKAGE.rglob("*.py"):
        if path != HOME:
            assert not used.findall(path.read_text(encoding="utf-8")), path


def test_header_lists_are_the_headers_own() -> None:
    headers = HTTPHeaders({"x-one": "1"})
    tornado_private.header_lists(headers)["X-Two"] = ["2", "3"]
    assert headers["X-Two"] == "2,3"


@pytest.mark.parametrize(
    "change",
    ["del tornado.web._HandlerDelegate", "tornado.httputil.HTTPHeaders = object"],
)
def test_tornado_without_a_name_is_refused_in_one_sentence(change: str) -> None:
    program = (
        f"import tornado.web, tornado.httputil; {change}; import flasknado.native.tornado_private"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "ImportError: Flasknado does not support Tornado" in done.stderr
