"""`docs/tour.md`: its lines are run at `examples/tour.py`, and each view of that is there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.walkthrough import Walk, blocks
from tests.support.process import PROJECT_ROOT


def test_lines_print_what_the_page_says(tmp_path: Path) -> None:
    with Walk(tmp_path) as walk:
        walk.follow(blocks("docs/tour.md"))
    assert len(walk.ran) > 50


def test_every_route_of_the_file_is_on_the_page() -> None:
    page = (PROJECT_ROOT / "docs" / "tour.md").read_text()
    source = (PROJECT_ROOT / "examples" / "tour.py").read_text()
    routes = re.findall(r'@app\.(?:get|post|put|delete|route)\("([^"<]*)', source)
    assert len(routes) > 35
    assert [route for route in routes if f"127.0.0.1:8000{route}" not in page] == []
