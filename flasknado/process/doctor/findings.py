"""What `flasknado doctor` finds, and how much it matters. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple


class Weight(enum.Enum):
    """How much a finding matters; the value is how it is called."""

    STOPS = "will not start"
    DIFFERS = "will differ"
    NOTE = "note"


class Finding(NamedTuple):
    """One sentence; `setting` is the setting that it is about, if it is about one."""

    weight: Weight
    sentence: str
    setting: str | None = None


STATUS = {Weight.STOPS: 1, Weight.DIFFERS: 2, Weight.NOTE: 0}


def status_of(findings: Iterable[Finding]) -> int:
    """Return the exit status: 0, 1 (will not start) or 2 (will differ)."""
    weights = {finding.weight for finding in findings}
    return next((STATUS[weight] for weight in Weight if weight in weights), 0)


def text_of(findings: list[Finding]) -> str:
    """Return the findings as lines, the gravest first."""
    if not findings:
        return "Nothing will be different here."
    order = list(Weight)
    findings = sorted(findings, key=lambda finding: order.index(finding.weight))
    return "\n".join(f"{finding.weight.value}: {finding.sentence}" for finding in findings)
