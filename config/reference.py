"""The table of settings in `docs/settings.md`, written from the model.

python -m config.reference > docs/settings.md
"""

from __future__ import annotations

import sys

from config.settings import Settings

_HEAD = """\
# Settings

The settings of the bundled application. Each is an environment variable, or a `NAME=value` line
in `.env` in the project's root; the environment takes precedence. An empty variable counts as
unset, unknown variables are ignored, and a bad value stops startup with a one-line error that
says what to write instead. (The settings of the server itself are in
[Operations](operations.md).)

`python -m config.reference` writes this page from the model in `config/settings.py`.

| variable | unit | default | meaning | rule |
|---|---|---|---|---|
"""


_FOOT = """
## Built-in limits of the application

**Bodies.** A view accepts 64 KiB. Users with an account may send a post of about 300 KiB, which
fits the longest text in any encoding. Larger bodies get 413. A percent-encoded form is limited to
that size even where a view accepts files (`webapp/body_limits.py`), because parsing it takes two
hundred times its size in memory.

**Markdown.** A post is rendered to HTML when it is written. Posts with more than 20,000 pieces
(start tags, end tags and texts), nesting deeper than 40, or more than 200,000 characters of HTML
are refused with a message beside the text (422 in the API). Older posts beyond these limits are
shown without markup. After a change of the allowed markup, `flask --app webapp posts render`
renders all posts again.

**Passwords.** Only wrong ones are counted, for forms and API together and across all workers (in
the table `attempt_count`). Behind a proxy that is not in `TRUSTED_PROXIES` all clients have the
proxy's address and share one limit. Hashing has its own threads: half as many as processors, at
most a quarter of `THREADS`, each with a queue of up to four. When the queue is full, a log-in
gets 503 with `Retry-After`. Concurrent guesses may exceed a limit by one per thread.

**Sessions and tokens.** Each browser that is logged in is a record, listed in the settings, and
its cookie is worthless without it. A change of the password, "log out everywhere" in the settings,
`DELETE /api/v1/me/sessions` and `flask --app webapp users logout NAME` end every session and token
of an account, API tokens included, and its live connections. An account has at most 20 API tokens,
each good for a year.

**Attachments.** A post has at most 10, an account at most 500 MB of them; each may be as large as
`MAX_BODY_MB` allows. PNG, JPEG, GIF and WebP pictures are shown, recognised by their first bytes;
everything else is a download. The files have random names in `UPLOAD_DIR`.

**Search.** A query has at most 8 words. Of a post with more than 1,000 different words the first
1,000 are found. `flask --app webapp posts index` makes the index again.

**Requests that are sent twice.** The answer to a form, or to an API request with an
`Idempotency-Key`, is kept for 24 hours.

**Transactions.** A request or stream that holds one for longer than `TRANSACTION_WARNING_S` is
logged once, with its view and last statement (`webapp.watchdog`).

**Files.** `var/`, the secret key and the files of a SQLite database are accessible to their owner
only (modes 0700 and 0600). The server removes access for others when it starts, and logs a
warning if it is not allowed to."""


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
