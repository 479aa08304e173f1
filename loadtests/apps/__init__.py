"""The applications that are put under load; they run on every server of `loadtests.servers`."""

import logging

# No server of the table writes an access log, and Werkzeug's would cost it a fifth.
logging.getLogger("werkzeug").setLevel(logging.ERROR)
