"""What happens once, before the first request, where `before_first_request` used to be.

Flask 2.3 took that hook away because it ran inside somebody's request; this runs at the end of
`create_app()`, before a server has the application. It does not touch the database, so that
`flask db upgrade` works on an empty one.
"""

from __future__ import annotations

from flask import Flask

from webapp import accounts


def prepare(app: Flask) -> None:
    """Compute what needs the finished URL map and configuration."""
    accounts.reserve_names(app)
