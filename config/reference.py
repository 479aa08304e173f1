"""The table of settings in `docs/settings.md`, written from the model.

python -m config.reference > docs/settings.md
"""

from __future__ import annotations

import sys

from config.settings import Settings

_HEAD = """\
# Settings

Each setting is an environment variable, or a `NAME=value` line in `.env` in the project's root;
the environment wins. An empty variable counts as unset, variables of other programs are ignored,
and a bad value stops the start with one sentence that says what to write instead.

This page is written from the model in `config/settings.py`, by `python -m config.reference`.

| variable | unit | default | meaning | rule |
|---|---|---|---|---|
"""


_FOOT = """
## What the application bounds by itself

**Bodies.** A view takes 64 KiB. A post may be sent in about 300 KiB, the longest text however it is
encoded, by somebody with an account. More gets 413. A percent-encoded form is never larger than
that, even where a view takes files (`webapp/body_limits.py`), because it costs two hundred times
its size while it is read.

**Markdown.** A post becomes HTML when it is written. One that would have more than 20,000 pieces
(beginnings, ends and texts of elements), be nested deeper than 40, or have more than 200,000
characters as HTML is refused with a sentence beside the text (422 in the API). Posts from before
that rule show such a text without its markup. After a change of what is allowed,
`flask --app webapp posts render` makes the HTML of all posts again.

**Passwords.** Only wrong ones are counted, for the forms and the API together and over all workers
(in the table `attempt_count`). Behind a proxy that is not in `TRUSTED_PROXIES` everybody has the
proxy's address, and one limit. Hashing runs on threads of its own: half as many as there are
processors, at most a quarter of `THREADS`; up to four wait for each of them. When that queue is
full a log-in gets 503 with `Retry-After`. Guesses of the same moment may exceed a limit by one for
each thread.

**Sessions and tokens.** Log-out makes the session's cookie worthless on the server. A change of the
password, "log out everywhere" on the account's page, `DELETE /api/v1/me/sessions` and
`flask --app webapp users logout NAME` end every session and token of an account, and its live
connections.

**Files.** `var/`, the secret key and a SQLite database's files are their owner's alone (modes 0700
and 0600). Files that others could read are taken from them when the server starts; if that is not
allowed, the log says so.
"""


def page() -> str:
    """Return the text of `docs/settings.md`."""
    return _HEAD + "".join(_rows()) + _FOOT


def _rows() -> list[str]:
    rows = []
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        default = extra["shown_default"] or f"`{field.default}`"
        cells = (f"`{name.upper()}`", extra["unit"], default, field.description, extra["rule"])
        rows.append("| " + " | ".join(map(str, cells)) + " |\n")
    return rows


if __name__ == "__main__":
    sys.stdout.write(page())
