"""What holds for every test."""

from __future__ import annotations

import os

from hypothesis import settings

# Properties are judged by their answers, not by the time that a busy machine takes for them; and a
# run of CI tries the same examples each time, so that only a change of the code can fail it.
settings.register_profile("flasknado", derandomize=os.environ.get("CI") == "true", deadline=None)
settings.load_profile("flasknado")
