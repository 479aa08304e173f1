"""What Brotli would save and cost for event streams, beside gzip: why there is none.

    pip install brotli && python -m loadtests.live_brotli

Events are those of `loadtests.live_compression`. "once for all" is a piece that is sent to every
client, as ours are; it has to decompress behind whatever a client was sent before. "per client" is
an encoder with a context for each client: what a burst to 100 and to 1,000 clients takes of it.
"""

from __future__ import annotations

import importlib
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

from flasknado.live import compression
from flasknado.live.event import Event, encode_data
from flasknado.live.formats import SSE
from loadtests.live_compression import event

EVENTS = 100
WINDOW_BITS = 18

Compress = Callable[[bytes], bytes]


def blocks(count: int) -> list[bytes]:
    """Return events as an event stream has them."""
    drafts = [Event(n, "a", "comment", encode_data(event(n), 65536)) for n in range(1, count + 1)]
    return [SSE.event("3f2a9c01", draft) for draft in drafts]


class Brotli:
    """Brotli at one level."""

    def __init__(self, quality: int) -> None:
        self._module: Any = importlib.import_module("brotli")
        self._quality = quality

    def begun(self) -> tuple[Any, bytes]:
        """Return an encoder, and what a stream of it begins with."""
        mode = self._module.MODE_TEXT
        encoder = self._module.Compressor(mode, self._quality, WINDOW_BITS)
        head: bytes = encoder.process(b"") + encoder.flush()
        return encoder, head

    def piece(self, data: bytes) -> bytes:
        """Return what a new encoder makes of some data, behind the beginning of its stream."""
        encoder, _ = self.begun()
        made: bytes = encoder.process(data) + encoder.flush()
        return made

    def in_context(self) -> Compress:
        """Return a function that compresses one event after another for one client."""
        encoder, _ = self.begun()
        return lambda data: encoder.process(data) + encoder.flush()

    def joins(self, data: list[bytes]) -> bool:
        """Return whether pieces decompress behind one another."""
        decoder = self._module.Decompressor()
        text = b""
        try:
            for piece in (self.begun()[1], *map(self.piece, data)):
                text += decoder.process(piece)
        except self._module.error:
            return False
        return text == b"".join(data)


def gzip_in_context() -> Compress:
    """Return the same as `Brotli.in_context`, of gzip."""
    encoder = zlib.compressobj(compression.LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return lambda data: encoder.compress(data) + encoder.flush(zlib.Z_SYNC_FLUSH)


def show(name: str, compress: Compress, data: list[bytes], note: str = "") -> float:
    """Print a row, and return the processor time of one event in seconds."""
    began = time.process_time()
    size_bytes = sum(len(compress(each)) for each in data)
    taken_s = (time.process_time() - began) / len(data)
    row = f"{name:24} {size_bytes / len(data):6.0f} bytes {taken_s * 1e6:8.1f} us an event  {note}"
    sys.stdout.write(row.rstrip() + "\n")
    return taken_s


def main() -> None:
    """Print every row."""
    data = blocks(EVENTS)
    show("plain", bytes, data)
    show("gzip, once for all", compression.compress, data)
    for quality in (1, 5, 11):
        brotli = Brotli(quality)
        note = "" if brotli.joins(data) else "does not decompress behind others"
        show(f"brotli {quality}, once for all", brotli.piece, data, note)
    for name, compress in (
        ("gzip, per client", gzip_in_context()),
        ("brotli 5, per client", Brotli(5).in_context()),
    ):
        event_s = show(name, compress, data)
        for clients in (100, 1000):
            taken_s = event_s * EVENTS * clients
            sys.stdout.write(f"  {EVENTS} events to {clients} clients: {taken_s:.2f} s\n")


if __name__ == "__main__":
    main()
