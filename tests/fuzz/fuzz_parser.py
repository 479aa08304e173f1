"""A mutation fuzzer for the request parser, judged by h11.

    python -m tests.fuzz.fuzz_parser 600 [SEED]

runs for 600 seconds (default 10) from a random seed, which it prints; it ends with status 1 and the
bytes, if it finds a crash, a reading that depends on how the bytes are split, or a request that
h11 does not see.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterable, Iterator

from tests.flasknado.http.reading import differs, our_reading
from tests.fuzz.corpus import CORPUS, DICTIONARY


def mutated(chance: random.Random) -> bytes:
    """Return one to three requests of the corpus, changed in a few places."""
    data = bytearray(b"".join(chance.choices(CORPUS, k=chance.randint(1, 3))))
    for _ in range(chance.randint(0, 4)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            data[at:at] = chance.choice(DICTIONARY)
        elif kind == 1:
            del data[at : at + chance.randint(1, 8)]
        elif kind == 2 and at < len(data):
            data[at] = chance.randrange(256)
        else:
            start = chance.randrange(len(data) + 1)
            data[at:at] = data[start : start + chance.randint(1, 30)]
    return bytes(data)


def fault(data: bytes, chance: random.Random) -> str:
    """Return what is wrong with our reading of the bytes, or an empty string."""
    whole = our_reading([data])
    size = chance.randint(1, 9)
    split = our_reading([data[i : i + size] for i in range(0, len(data), size)])
    if whole.requests != split.requests:
        return f"in pieces of {size} bytes we see {split.requests}, whole {whole.requests}"
    return differs(data)


def run(seed: int, inputs: Iterable[object]) -> tuple[int, str]:
    """Fuzz for as many inputs as `inputs` has items; one seed always gives the same inputs.

    Returns how many were tried, and the first fault with its bytes.
    """
    chance = random.Random(seed)
    tried = 0
    for _ in inputs:
        data = mutated(chance)
        tried += 1
        try:
            found = fault(data, chance)
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        if found:
            return tried, f"{found}\n{data!r}"
    return tried, ""


def lasting(seconds: float) -> Iterator[None]:
    """Yield until so many seconds have passed."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        yield


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32)
    tried, found = run(seed, lasting(seconds))
    sys.stdout.write(f"seed {seed}: {tried} inputs, {found or 'no fault'}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
