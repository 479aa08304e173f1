"""The application of the restart tests, for a server process: `tests.browser.application:app`."""

from __future__ import annotations

import os
from pathlib import Path

from tests.browser.servers import add_page
from tests.flasknado.live.helpers import make_app

live_app = make_app(Path(os.environ["LIVE_TEST_DIRECTORY"]))
app = live_app.app
add_page(app)
