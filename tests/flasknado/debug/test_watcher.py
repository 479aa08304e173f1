"""Which changes of files are seen, and which are not."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from flasknado.debug.files import Tree, is_asset, is_source
from flasknado.debug.watcher import Watcher
from tests.support.poll import poll


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), "/usr/lib/python3/dist-packages", ""])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a module that is imported."""
    path = folder / "loaded_module.py"
    path.write_text("one")
    module = types.ModuleType("loaded_module")
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "loaded_module", module)
    return path


def save(path: Path, text: str) -> str:
    """Save as many editors do: a new file takes the place of the old one."""
    new = path.with_name(".new")
    new.write_text(text)
    new.replace(path)
    return str(path)


def test_saved_file_of_an_imported_module_is_a_change_once(folder: Path, loaded: Path) -> None:
    watcher = Watcher()
    assert watcher.changed_code() == []
    path = save(loaded, "two")
    assert watcher.changed_code() == [path]
    assert watcher.changed_code() == []


def test_saving_in_place_is_a_change_by_its_time_even_with_the_same_size(loaded: Path) -> None:
    watcher = Watcher()
    watcher.changed_code()
    loaded.write_text("two")
    os.utime(loaded, ns=(1, 1))
    assert watcher.changed_code() == [str(loaded)]


def test_change_before_the_first_look_counts_from_when_the_watcher_was_made(loaded: Path) -> None:
    watcher = Watcher()
    path = save(loaded, "two")
    assert watcher.changed_code() == [path]


def test_file_that_vanishes_and_comes_back_as_it_was_not_is_one_change(loaded: Path) -> None:
    watcher = Watcher()
    loaded.unlink()
    assert watcher.changed_code() == []
    path = save(loaded, "three")
    assert watcher.changed_code() == [path]


def test_other_python_files_count_only_while_the_application_cannot_be_imported(
    folder: Path, loaded: Path
) -> None:
    other = folder / "package" / "other.py"
    other.parent.mkdir()
    other.write_text("")
    watcher = Watcher()
    save(other, "1")
    save(folder / "new.py", "1")
    assert watcher.changed_code() == []
    watcher.broken = True
    paths = [save(other, "2"), save(folder / "newer.py", "2")]
    assert sorted(watcher.changed_code()) == sorted(paths)


def test_file_that_an_error_names_counts_from_then_on(folder: Path, tmp_path: Path) -> None:
    broken = folder / "broken.py"
    broken.write_text("def")
    watcher = Watcher()
    watcher.also([str(broken), os.__file__])
    assert watcher.changed_code() == []
    path = save(broken, "")
    assert watcher.changed_code() == [path]


def test_module_that_the_application_writes_as_it_boots_is_no_change(folder: Path) -> None:
    code: list[str] = []
    generated, edited = folder / "generated_module.py", folder / "edited_module.py"
    for path in (generated, edited):
        path.write_text("made = 1")
    watcher = Watcher()
    try:
        generated.write_text("made = 2222")
        for path in (generated, edited):
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec is not None
            assert spec.loader is not None
            sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        save(edited, "made = 3333333")
        watcher.start([], [], code.extend, code.extend)
        poll(lambda: code)
        save(generated, "made = 4")
        poll(lambda: str(generated) in code)
        assert code == [str(edited), str(generated)]
    finally:
        watcher.stop()
        for path in (generated, edited):
            sys.modules.pop(path.stem, None)


def test_folders_that_hold_no_code_of_the_application_are_passed_over(tmp_path: Path) -> None:
    for name in (".git", "__pycache__", "node_modules", "site-packages", "env", "package"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").touch()
    (tmp_path / "env" / "pyvenv.cfg").touch()
    (tmp_path / "package" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "text.txt").touch()
    tree = Tree([str(tmp_path), str(tmp_path / "gone")], is_source)
    assert list(tree.look()) == [str(tmp_path / "package" / "a.py")]


def test_tree_that_is_too_large_is_cut_off_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flasknado.debug.files.MAX_FOLDERS", 3)
    for name in "abcde":
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").touch()
    tree = Tree([str(tmp_path)], is_source)
    assert len(tree.look()) == 2
    assert tree.cut_off


def test_only_what_authors_write_counts_among_static_files() -> None:
    assert [name for name in ("a.css", "B.JS", "c.png", "d", "e.html~") if is_asset(name)] == [
        "a.css",
        "B.JS",
    ]


@pytest.fixture
def seen(folder: Path, loaded: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Return the code and the page files that a running watcher has told of."""
    code: list[str] = []
    pages: list[str] = []
    for name in ("templates", "static"):
        (folder / name).mkdir()
    watcher = Watcher()
    watcher.start([str(folder / "templates")], [str(folder / "static")], code.extend, pages.extend)
    try:
        yield code, pages
    finally:
        watcher.stop()


def test_thread_tells_of_code_and_of_new_and_changed_page_files(
    folder: Path, loaded: Path, seen: tuple[list[str], list[str]]
) -> None:
    code, pages = seen
    template = save(folder / "templates" / "a.html", "1")
    poll(lambda: pages, lambda pages: template in pages)
    save(folder / "templates" / "a.html~", "1")
    save(folder / "static" / "upload.png", "1")
    style = save(folder / "static" / "a.css", "1")
    poll(lambda: pages, lambda pages: style in pages)
    assert set(pages) == {template, style}
    path = save(loaded, "two")
    poll(lambda: code, lambda code: path in code)
