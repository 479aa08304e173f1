"""sqlite-web on one database, as its documentation says to serve it elsewhere."""

import os

from sqlite_web.sqlite_web import app, initialize_app

initialize_app([os.environ["DATABASE"]])
__all__ = ["app"]
