"""The fuzzer, for a few seconds."""

from __future__ import annotations

import random

from tests.fuzz.fuzz_parser import run


def test_fuzzer_finds_nothing_in_a_few_seconds() -> None:
    tried, found = run(8.0, random.randrange(2**32))

    assert not found
    assert tried > 100
