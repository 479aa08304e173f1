"""The fuzzer on inputs that are the same each time; by hand it looks for new ones."""

from __future__ import annotations

import pytest

from tests.fuzz import fuzz_parser
from tests.fuzz.fuzz_parser import run

INPUTS_PER_SEED = 10_000


@pytest.mark.parametrize("seed", range(5))
def test_fuzzer_with_a_fixed_seed_finds_nothing(seed: int) -> None:
    tried, found = run(seed, range(INPUTS_PER_SEED))

    assert not found
    assert tried == INPUTS_PER_SEED


def test_fuzzer_that_finds_a_fault_tells_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_parser, "differs", lambda data: "h11 sees nothing" * (b"PUT" in data))

    tried, found = run(1, range(INPUTS_PER_SEED))

    assert tried < INPUTS_PER_SEED
    assert found.startswith("h11 sees nothing\nb")
    assert "PUT" in found
