"""Every page with code blocks has a test that runs them."""

from __future__ import annotations

import pytest

from tests.docs.walkthrough import blocks
from tests.support.process import PROJECT_ROOT

RUN_BY = {
    "CONTRIBUTING.md": "tests/docs/test_make.py",
    "README.md": "tests/docs/test_readme.py",
    "docs/from-flask-socketio.md": "tests/docs/test_from_flask_socketio.py",
    "docs/deploy.md": "tests/docs/test_deploy.py",
    "docs/from-gunicorn.md": "tests/docs/test_from_gunicorn.py",
    "docs/from-tornado.md": "tests/docs/test_from_tornado.py",
    "docs/live.md": "tests/docs/test_live.py",
    "docs/operations.md": "tests/docs/test_operations.py",
    "docs/socketio.md": "tests/docs/test_socketio.py",
    "docs/tour.md": "tests/docs/test_tour.py",
    "docs/your-own-app.md": "tests/examples/test_your_own_app.py",
}
PAGES = [
    str(path.relative_to(PROJECT_ROOT))
    for path in sorted((*PROJECT_ROOT.glob("*.md"), *PROJECT_ROOT.glob("docs/**/*.md")))
]


@pytest.mark.parametrize("page", PAGES)
def test_page_with_blocks_is_run_by_a_test(page: str) -> None:
    assert (page in RUN_BY) == bool(blocks(page))


@pytest.mark.parametrize("page", RUN_BY)
def test_test_that_runs_a_page_names_it(page: str) -> None:
    test = (PROJECT_ROOT / RUN_BY[page]).read_text(encoding="utf-8")
    assert page.rpartition("/")[2] in test or '"*.md"' in test
