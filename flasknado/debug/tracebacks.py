"""Tracebacks as pages and as text, and the files that an error is about. Pure."""

from __future__ import annotations

import html
import os
import traceback
from types import TracebackType
from typing import Final

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui; margin: 2rem auto; max-width: 64rem; padding: 0 1rem }}
h1 {{ font-size: 1.25rem; overflow-wrap: anywhere }}
pre {{ border: 1px solid; font-size: .875rem; overflow-x: auto; padding: 1rem }}
</style>
</head>
<body>
<h1>{title}</h1>
<pre tabindex="0">{text}</pre>
<p>{hint}</p>
</body>
</html>
"""


def wants_page(accept: str) -> bool:
    """Return whether a client that sends this `Accept` shows pages: browsers say so."""
    return "text/html" in accept.lower()


def text_of(error: BaseException) -> str:
    """Return the traceback of an error as Python prints it."""
    return "".join(traceback.format_exception(error))


def page_of(error: BaseException, hint: str) -> str:
    """Return a page that shows an error and its traceback, and says what to do."""
    title = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    return sentence_page(title, text_of(error), hint)


def sentence_page(title: str, text: str, hint: str) -> str:
    """Return a page with a heading, text as it stands, and a hint."""
    return _PAGE.format(title=html.escape(title), text=html.escape(text), hint=html.escape(hint))


def without_frames_of(error: BaseException, modules: tuple[str, ...]) -> TracebackType | None:
    """Return the traceback of an error from the first frame on that is not of these modules."""
    trace = error.__traceback__
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__"))
        if not any(name == module or name.startswith(f"{module}.") for module in modules):
            break
        trace = trace.tb_next
    return trace


def files_of(error: BaseException) -> set[str]:
    """Return the source files that an error, or what caused it, names: those to be mended."""
    files: set[str] = set()
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, SyntaxError) and error.filename:
            files.add(error.filename)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            files.add(frame.f_code.co_filename)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return {os.path.abspath(file) for file in files if os.path.isfile(file)}  # noqa: PTH100, PTH113
