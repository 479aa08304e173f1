"""Nothing is done, for comparison."""

from __future__ import annotations

import time

from tests.siege.attack import Attack, Report, Target
from tests.siege.setups import SETUPS

CALM = "calm"


def calm(target: Target, seconds: float) -> Report:
    time.sleep(seconds)
    return Report()


ATTACKS = (Attack(CALM, "nothing, for comparison", calm, tuple(SETUPS)),)
