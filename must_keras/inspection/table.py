"""Tables and lists in a terminal."""

from collections.abc import Iterator, Sequence

_MAX_LINES = 12


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()


def titled(title: str, lines: Sequence[str]) -> Iterator[str]:
    """Yield an empty line, a title, and at most twelve lines below it; nothing without lines."""
    if not lines:
        return
    yield ""
    yield f"{title}:"
    yield from (f"  {line}" for line in lines[:_MAX_LINES])
    if len(lines) > _MAX_LINES:
        yield f"  and {len(lines) - _MAX_LINES} more"
