"""The script that reloads a page, put into the pages of both halves.

It goes to the end of a page whose length is announced, and that grows. A page that is streamed
may never end: there it follows the `<head>` tag, if the first part of the page has one. What is
fetched by scripts, compressed or a part of a file stays as it is.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Sequence
from typing import Final

from flasknado.debug.policy import Forbidden, nonce_for_script

log = logging.getLogger("flasknado.debug")

_DOCUMENTS: Final = frozenset(("document", "iframe", "frame"))
_NO_PAGE: Final = frozenset((204, 205, 206, 304))
_BEGINS_PAGE: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*+(?>(?><!--.*?-->)\s*+)*+<(?:!doctype|html)\b", re.I | re.S
)
_HEAD: Final = re.compile(rb"<head(?:\s[^>]*)?>", re.I)


class Page:
    """Puts the script into one response: `begin()` with its first part, then `part()` for each.

    tag: the script's element. streamed: whether the length of the page is not announced.
    checked: whether it is known to be a page; else it has to begin as one, as what scripts fetch
        may be a fragment.
    """

    def __init__(self, tag: bytes, *, streamed: bool, checked: bool) -> None:
        self.tag = tag
        self._streamed = streamed
        self._checked = checked
        self._begun = False

    def begin(self, first: bytes) -> bool:
        """Return whether it gets the script: it begins with this part, which is not empty."""
        if not self._begun:
            self._begun = True
            if not self._checked and _BEGINS_PAGE.match(first) is None:
                self.tag = b""
        return bool(self.tag)

    def part(self, chunk: bytes) -> bytes:
        """Return a part of the body as it is to be sent."""
        if not self._begun:
            self.begin(chunk)
        if self._streamed and self.tag:
            self._streamed = False  # only the first part is searched
            head = _HEAD.search(chunk)
            if head is not None:
                tag, self.tag = self.tag, b""
                return chunk[: head.end()] + tag + chunk[head.end() :]
        return chunk

    def end(self) -> bytes:
        """Return what follows the last part."""
        tag, self.tag = self.tag, b""
        return tag


class Injector:
    """Decides which responses get the script. Any thread.

    url: of the script; the page's version is added to it.
    """

    def __init__(self, url: str) -> None:
        self.version = ""
        self._url = url
        self._told = threading.Lock()

    def page(
        self,
        *,
        status: int,
        fields: Sequence[tuple[str, str]],
        host: str,
        destination: str | None,
        path: str,
    ) -> Page | None:
        """Return what puts the script into a response, or `None` if it gets none.

        destination: what the request says in `Sec-Fetch-Dest`. path: for the log.
        """
        if status in _NO_PAGE or status < 200 or destination not in (None, *_DOCUMENTS):
            return None
        values: dict[str, list[str]] = {}
        for name, value in fields:
            values.setdefault(name.lower(), []).append(value)
        content_type = values.get("content-type", [""])[-1].partition(";")[0].strip().lower()
        if (
            content_type != "text/html"
            or "attachment" in values.get("content-disposition", [""])[0]
        ):
            return None
        if values.get("content-encoding", ["identity"]) != ["identity"]:
            return None
        try:
            nonce = nonce_for_script(values.get("content-security-policy", ()), host)
        except Forbidden as forbidden:
            if self._told.acquire(blocking=False):  # once
                log.warning(
                    "%s cannot reload itself: its Content-Security-Policy (%s) forbids the script "
                    "of the development mode, which needs script-src and connect-src 'self'",
                    path,
                    forbidden,
                )
            return None
        return Page(
            self.tag(nonce),
            streamed="content-length" not in values,
            checked=destination is not None,
        )

    def tag(self, nonce: str = "") -> bytes:
        """Return the script's element."""
        attribute = f' nonce="{nonce}"' if nonce else ""
        src = f"{self._url}?version={self.version}"
        return f'<script type="module" src="{src}"{attribute}></script>'.encode()
