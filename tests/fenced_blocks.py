"""The code blocks of README and site: their language, tag, code, and why one is not run.

```sh run                     the tag names who runs it: tests/test_pages.py lists them
<!-- not run: 12 minutes -->  before a block that no test runs
"""

import dataclasses
import functools
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
    *(ROOT / f"{name}.md" for name in ("README", "BUILD", "CHANGELOG", "CONTRIBUTING", "SECURITY")),
]
_FENCE = re.compile(
    r"(?:^[ ]*<!-- not run: (?P<reason>[^\n]*) -->\n)?"
    r"^(?P<pad>[ ]*)```(?P<language>[^\s`]+)[ ]?(?P<tag>[^\n]*)\n(?P<code>.*?)^(?P=pad)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: pathlib.Path
    line: int
    language: str
    tag: str
    code: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> list[str]:
        """The commands of a shell block, one a line, without comments."""
        whole = self.code.replace("\\\n", " ")
        return [line for line in map(str.strip, whole.splitlines()) if line and line[0] != "#"]


@functools.cache
def blocks_of(page: pathlib.Path) -> tuple[Block, ...]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        pad = len(match["pad"])
        code = "".join(line[pad:] or "\n" for line in match["code"].splitlines(keepends=True))
        line = text[: match.start("language")].count("\n") + 1
        tag, reason = match["tag"].strip(), match["reason"]
        found.append(Block(page, line, match["language"], tag, code, reason))
    return tuple(found)


def blocks(language: str, tag: str | None = None, *pages: str) -> list[Block]:
    """The blocks of a language, and of one tag, of some pages below the root or of all."""
    chosen = [ROOT / page for page in pages] or PAGES
    every = [block for page in chosen for block in blocks_of(page)]
    return [b for b in every if b.language == language and tag in (None, b.tag)]


def without_code(page: pathlib.Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))
