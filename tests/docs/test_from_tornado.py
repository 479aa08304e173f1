"""`docs/from-tornado.md`: its example runs as printed, and each of its diffs has a test."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import requests

from tests.docs.walkthrough import blocks
from tests.support.process import PROJECT_ROOT, server_process

PAGE = "docs/from-tornado.md"
TIMEOUT_S = 30


def test_every_diff_is_applied_by_a_test() -> None:
    page = (PROJECT_ROOT / PAGE).read_text(encoding="utf-8")
    changed = re.findall(r"^\+\+\+ b/(\S+)$", page, re.MULTILINE)
    tests = [path.read_text() for path in (PROJECT_ROOT / "tests" / "unmodified").glob("test_*.py")]

    assert len(changed) == page.count("```diff") == 2
    for path in changed:
        assert any(f'"{path}"' in test and "from-tornado.md" in test for test in tests), path


def test_uploads_of_the_example_are_kept_and_guarded(tmp_path: Path) -> None:
    page = (PROJECT_ROOT / PAGE).read_text(encoding="utf-8")
    [program] = re.findall(r"^```python\n# gallery.py\n(.*?)^```$", page, re.M | re.S)
    (tmp_path / "gallery.py").write_text(program)
    [command] = re.findall(r"^\$ flasknado (.*)$", page, re.M)
    arguments = ("-m", "flasknado", *shlex.split(command), "--bind", "127.0.0.1:0")
    with server_process(arguments, cwd=tmp_path) as server:
        url = server.url + "/pictures"
        files = {"file": ("gallery.py", program.encode())}
        data = {"title": "whale"}
        refused = requests.post(url, files=files, data=data, timeout=TIMEOUT_S)
        assert refused.status_code == 401
        headers = {"Authorization": "Bearer secret"}
        sent = requests.post(url, files=files, data=data, headers=headers, timeout=TIMEOUT_S)
        assert sent.json() == {"title": "whale", "bytes": len(program.encode())}
    assert (tmp_path / "pictures" / "whale-0").read_text() == program
    assert list((tmp_path / "incoming").iterdir()) == []
    assert blocks(PAGE)
