"""How many files a newcomer turns over who follows one request (`loadtests/request_path.py`)."""

from __future__ import annotations

from loadtests.request_path import request_path

FILES = 16
CHANGES_OF_FILE = 38


def test_ordinary_get_passes_few_files_and_turns_few_pages() -> None:
    path = request_path()
    assert {"flasknado-wsgi", "MainThread"} == {call.thread for call in path.calls}
    assert len(path.files) <= FILES, sorted(path.files)
    assert path.changes_of_file <= CHANGES_OF_FILE
