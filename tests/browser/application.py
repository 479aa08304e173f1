"""The application of the restart tests, for a server process: `tests.browser.application:app`.

It notes in a file each time that it is asked who may read what.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.browser.servers import add_page
from tests.flasknado.live.helpers import make_app

directory = Path(os.environ["LIVE_TEST_DIRECTORY"])
live_app = make_app(directory)
app = live_app.app
add_page(app)


@live_app.live.authorize
def may_read(channel: str) -> bool:
    with (directory / "asked").open("a") as asked:
        asked.write(f"{channel}\n")
    return True
