"""The parts of a page that are written from the code: from one comment to another."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Part(NamedTuple):
    """What stands in a page between the lines `begin` and `end`, which name the command."""

    page: Path
    begin: str
    end: str

    def shown(self) -> str:
        """Return the text that is on the page."""
        _, begin, rest = self.page.read_text(encoding="utf-8").partition(self.begin)
        text, end, _ = rest.partition(self.end)
        assert begin, f"{self.page.name} has no line {self.begin!r}"
        assert end, f"{self.page.name} has no line {self.end!r}"
        return text.strip()

    def write(self, text: str) -> None:
        """Put a text in the place of the one that is there."""
        before, _, rest = self.page.read_text(encoding="utf-8").partition(self.begin)
        after = rest.partition(self.end)[2]
        whole = f"{before}{self.begin}\n\n{text}\n\n{self.end}{after}"
        self.page.write_text(whole, encoding="utf-8")


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, *rows)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:]])
