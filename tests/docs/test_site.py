"""The documentation site has every page and every public name; `make docs` builds it strictly."""

from __future__ import annotations

import re

import pytest

import flasknado
import flasknado.live
from config.site import PAGES, decisions, homes, reference, rewritten
from tests.support.process import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"
NAVIGATION = (PROJECT_ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r": (\S+\.md)$", NAVIGATION, re.MULTILINE))
    assert {path.name for path in DOCS.glob("*.md")} <= named
    assert named <= {path.name for path in DOCS.glob("*.md")} | {
        *PAGES.values(),
        "reference.md",
        "decisions/index.md",
    }


@pytest.mark.parametrize("package", [flasknado, flasknado.live])
def test_reference_has_every_public_name(package: object) -> None:
    page = reference()
    name = package.__name__  # type: ignore[attr-defined]
    for exported in package.__all__:  # type: ignore[attr-defined]
        home = homes(name).get(exported, name)
        assert f"::: {home}.{exported}\n" in page, exported


@pytest.mark.parametrize(
    ("text", "page", "there"),
    [
        ("[a](docs/live.md)", "index.md", "[a](live.md)"),
        ("[a](docs/live.md#who)", "index.md", "[a](live.md#who)"),
        ("[a](https://example.com/a.md)", "index.md", "[a](https://example.com/a.md)"),
        ("[a](#here)", "index.md", "[a](#here)"),
        ("[a](examples)", "index.md", "a (`examples`)"),
        ("[a](docs/decisions)", "index.md", "[a](decisions/index.md)"),
        ("[a](README.md#measured)", "decisions/1.md", "[a](../index.md#measured)"),
    ],
)
def test_link_of_a_page_leads_to_a_page_of_the_site(text: str, page: str, there: str) -> None:
    assert rewritten(text, PROJECT_ROOT, page) == there


def test_list_of_decisions_has_them_all() -> None:
    listed = decisions()
    assert all(f"({path.name})" in listed for path in (DOCS / "decisions").glob("*.md"))
