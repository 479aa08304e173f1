"""A thread that looks for changed files: code, and what pages are made of.

Files are looked at four times a second, without notifications of the kernel, which are missing
where folders are shared with containers and virtual machines. A folder is listed again only when
it has changed, and a thousand files take about three milliseconds.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from flasknado.debug.files import (
    Stamp,
    Tree,
    is_any,
    is_as_imported,
    is_asset,
    is_installed,
    is_source,
    loaded_sources,
    source_roots,
    stamp_of,
)

log = logging.getLogger("flasknado.debug")

INTERVAL_S: Final = 0.25
LONGEST_INTERVAL_S: Final = 1.0
SHARE: Final = 20
"""The thread rests for so many times the processor time of a look, between those two."""

SETTLE_S: Final = 0.05
SETTLE_ROUNDS: Final = 20
"""Several files are often saved at once: they are awaited for a while."""

Changed = Callable[[list[str]], None]


class Watcher:
    """Looks for changes once `start()` has been called, against what there was when it was made.

    Changed code is: the file of a module that is imported, or one that `also()` names; and any
    Python file of the application once `broken` says that it could not be imported.
    """

    def __init__(self) -> None:
        self.broken = False
        self._sources = Tree(source_roots(), is_source)
        self._code: dict[str, Stamp] = self._sources.look()
        self._also: set[str] = set()
        self._trees: list[Tree] = []
        self._pages: dict[str, Stamp] = {}
        self._stopped = threading.Event()
        self._loaded_count = 0
        self._loaded: set[str] = set()

    def also(self, paths: Iterable[str]) -> None:
        """Take these files for code of the application, unless they are installed. Any thread."""
        new = {path for path in paths if not is_installed(path)} - self._also
        for path in new - self._code.keys():
            stamp = stamp_of(path)
            if stamp is not None:
                self._code[path] = stamp
        self._also = self._also | new

    def start(
        self, templates: Iterable[str], static: Iterable[str], on_code: Changed, on_pages: Changed
    ) -> None:
        """Look from now on, and call `on_code` or `on_pages` with what has changed.

        templates, static: folders. The functions are called on the watching thread.
        """
        self._trees = [Tree(templates, is_any), Tree(static, is_asset)]
        self._pages = self._look_at_pages()
        if any(tree.cut_off for tree in (self._sources, *self._trees)):
            log.warning(
                "there are too many folders or files to watch all of them: run the command in the "
                "folder of the application"
            )
        threading.Thread(
            target=self._run, args=(on_code, on_pages), name="flasknado-watcher", daemon=True
        ).start()

    def stop(self) -> None:
        """Look no more. Any thread."""
        self._stopped.set()

    def _run(self, on_code: Changed, on_pages: Changed) -> None:
        pause_s = 0.0  # the first look is at once: the application may have changed as it booted
        booting = True
        while not self._stopped.wait(pause_s):
            began = time.thread_time()
            try:
                code = self._settled(self.changed_code)
                if booting:
                    booting = False
                    code = self._changed_at_boot(code)
                if code:
                    on_code(code)
                if pages := self._settled(self.changed_pages):
                    on_pages(pages)
            except Exception:
                log.exception("looking for changed files failed")
            pause_s = min(max(INTERVAL_S, SHARE * (time.thread_time() - began)), LONGEST_INTERVAL_S)

    def _changed_at_boot(self, paths: list[str]) -> list[str]:
        """Return those that an editor has changed: an application may write modules as it boots.

        It would boot for ever if those counted.
        """
        code = self._loaded_now()
        return [path for path in paths if path in code and not is_as_imported(path)]

    def _settled(self, look: Callable[[], list[str]]) -> list[str]:
        """Return what has changed, once nothing more does."""
        changed = look()
        if not changed:
            return changed
        for _ in range(SETTLE_ROUNDS):
            if self._stopped.wait(SETTLE_S):
                break
            more = look()
            if not more:
                break
            changed += [path for path in more if path not in changed]
        return changed

    def changed_code(self) -> list[str]:
        """Return the code that has changed since the last look."""
        loaded = self._loaded_now()
        found = self._sources.look()
        for path in loaded - found.keys():
            stamp = stamp_of(path)
            if stamp is not None:
                found[path] = stamp
        changed = []
        for path, stamp in found.items():
            before = self._code.get(path)
            if before == stamp:
                continue
            self._code[path] = stamp
            if self.broken or (before is not None and path in loaded):
                changed.append(path)
        return changed

    def changed_pages(self) -> list[str]:
        """Return the templates and static files that have changed since the last look."""
        found = self._look_at_pages()
        changed = [path for path, stamp in found.items() if self._pages.get(path) != stamp]
        self._pages = {**self._pages, **found}  # what has gone comes back when it is saved
        return changed

    def _look_at_pages(self) -> dict[str, Stamp]:
        return {path: stamp for tree in self._trees for path, stamp in tree.look().items()}

    def _loaded_now(self) -> set[str]:
        if len(sys.modules) != self._loaded_count:
            self._loaded_count = len(sys.modules)
            self._loaded = loaded_sources()
        return self._loaded | self._also
