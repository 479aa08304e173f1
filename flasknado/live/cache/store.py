"""The pages that a worker keeps, bounded in bytes. It has no lock: its owner has one."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection
from typing import Final

from flasknado.live.cache.pages import Page
from flasknado.live.cache.questions import PrimaryKey, Selection
from flasknado.live.event import is_pattern, matches

LARGEST_SHARE: Final = 8
"""A page may take this part of the whole at most."""

KNOWN_VARY: Final = 512
"""For how many pages it is remembered which fields they vary by, also while they are not kept."""


class Store:
    """Pages by what was asked; the one that was asked for least recently goes first."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._pages: OrderedDict[Selection, Page] = OrderedDict()
        self._by_channel: dict[str, set[Selection]] = {}
        self._patterns: set[str] = set()
        self._vary: OrderedDict[PrimaryKey, tuple[str, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pages)

    def vary_of(self, primary: PrimaryKey) -> tuple[str, ...]:
        """Return the fields by which the last response that was kept varies."""
        return self._vary.get(primary, ())

    def get(self, selection: Selection) -> Page | None:
        """Return a page that is not too old."""
        page = self._pages.get(selection)
        if page is None:
            return None
        if page.expires_at <= time.monotonic():
            self._remove(selection)
            return None
        self._pages.move_to_end(selection)
        return page

    def put(self, selection: Selection, page: Page) -> None:
        """Keep a page, unless it is too large."""
        primary = selection[0]
        self._vary.pop(primary, None)
        if page.vary:
            self._vary[primary] = page.vary
            if len(self._vary) > KNOWN_VARY:
                self._vary.popitem(last=False)
        if selection in self._pages:
            self._remove(selection)
        size_bytes = size_of(selection, page)
        if size_bytes > self.limit_bytes // LARGEST_SHARE:
            return
        self._pages[selection] = page
        self.held_bytes += size_bytes
        for channel in page.channels:
            self._by_channel.setdefault(channel, set()).add(selection)
            if is_pattern(channel):
                self._patterns.add(channel)
        while self.held_bytes > self.limit_bytes:
            self._remove(next(iter(self._pages)))

    def drop(self, channels: Collection[str]) -> int:
        """Forget the pages that events on these channels have changed; return how many."""
        ended: set[Selection] = set()
        for channel in channels:
            ended |= self._by_channel.get(channel, set())
        for pattern in self._patterns:
            if any(matches(channel, pattern) for channel in channels):
                ended |= self._by_channel[pattern]
        for selection in ended:
            self._remove(selection)
        return len(ended)

    def clear(self) -> None:
        """Forget all pages."""
        self._pages.clear()
        self._by_channel.clear()
        self._patterns.clear()
        self.held_bytes = 0

    def _remove(self, selection: Selection) -> None:
        page = self._pages.pop(selection)
        self.held_bytes -= size_of(selection, page)
        for channel in page.channels:
            selections = self._by_channel[channel]
            selections.discard(selection)
            if not selections:
                del self._by_channel[channel]
                self._patterns.discard(channel)


def size_of(selection: Selection, page: Page) -> int:
    """Return about how much memory a page takes, with what it is kept under."""
    primary, varying = selection
    key_bytes = sum(map(len, primary)) + sum([len(value or "") for _, value in varying])
    return page.size_bytes + key_bytes


def concerns(channels: Collection[str], events: Collection[str]) -> bool:
    """Return whether events on these channels change a page that follows those."""
    return any(
        any(matches(event, channel) for event in events)
        if is_pattern(channel)
        else channel in events
        for channel in channels
    )
