"""Notices of doubtful files: counted, and reported once for each source on stderr.

A reader that cannot be sure of the meaning of numbers continues and adds a notice. While notices
are gathered, as during preflight, each is reported at the end with its count; at any other time
when it is added for the first time.
"""

import collections
import contextlib
import dataclasses
import threading
from collections.abc import Iterator

from must_keras.errors import Path, warn

# Files of a source in which a reader examines the meaning of numbers: training reads them again
# and again.
MAX_EXAMINED = 512
# Files that are counted for and against a topic that is not reported yet.
_MAX_FILES = 4096

# One for all: a notice is rare, and sources stay plain values.
_lock = threading.RLock()
_gathering: list["Notices"] = []
_depth = 0


@dataclasses.dataclass
class _Noticed:
    """A notice: the first file, all files, and the largest value among them with its text."""

    text: str
    first: str
    at_least: int
    value: float
    files: set[str] = dataclasses.field(default_factory=set)
    is_reported: bool = False


class Notices:
    """The notices of one source; safe to use from several threads.

    Args:
        where: begins every report, for example "source 'photos'"; "" for files without a source.

    Example:
        notices = Notices("source 'photos'")
        notices.add("bits", "a.png", "values reach 4080 of 65535", value=4080)
    """

    def __init__(self, where: str):
        self._where = where
        self._noticed: dict[str, _Noticed] = {}
        self._against: dict[str, set[str]] = {}

    def add(
        self, topic: str, file: Path, text: str, *, value: float = 0.0, at_least: int = 1
    ) -> None:
        """Count a file for a topic, and report the topic once.

        Args:
            topic: name of what is counted; each topic has its own report.
            file: that was read; reading it again does not count.
            text: end of the report, which is that of the file with the largest value.
            value: of this file.
            at_least: number of files below which nothing is reported.
        """
        with _lock:
            noticed = self._noticed.setdefault(topic, _Noticed(text, str(file), at_least, value))
            if noticed.is_reported:
                return
            if len(noticed.files) < _MAX_FILES:
                noticed.files.add(str(file))
            if value > noticed.value:
                noticed.text, noticed.value = text, value
            if not _depth:
                self.report()
            elif self not in _gathering:
                _gathering.append(self)

    def contradict(self, topic: str, file: Path) -> None:
        """Count a file against a topic, which is reported only where more files are for it."""
        with _lock:
            against = self._against.setdefault(topic, set())
            if len(against) < _MAX_FILES:
                against.add(str(file))

    def report(self) -> None:
        """Print a warning for every topic that was not reported before."""
        with _lock:
            for topic, noticed in self._noticed.items():
                least = max(noticed.at_least, len(self._against.get(topic, ())) + 1)
                if noticed.is_reported or len(noticed.files) < least:
                    continue
                noticed.is_reported = True
                count = len(noticed.files)
                files = noticed.first if count == 1 else f"{count} files, first {noticed.first}"
                where = f"{self._where}: " if self._where else ""
                warn(f"{where}{files}: {noticed.text}")
                noticed.files.clear()


@contextlib.contextmanager
def gathered() -> Iterator[None]:
    """Report the notices that are added within the context once, at its end, with counts."""
    global _depth
    with _lock:
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth:
                for notices in _gathering:
                    notices.report()
                _gathering.clear()


# Of several sources: boxes that are left out.
NO_AREA = "boxes have no area within their image and are left out"


class Notes:
    """Counts of facts that files or entries of a source have in common, with an example of each.

    Attributes:
        counts: {fact: how many have it}.
        first: {fact: the first that has it}.

    Example:
        notes.add(NO_AREA, "annotation 7")
    """

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.first: dict[str, str] = {}

    def add(self, fact: str, where: str) -> None:
        """Count a file or an entry."""
        self.counts[fact] += 1
        self.first.setdefault(fact, where)

    def warn(self, where: object) -> None:
        """Print one warning on stderr for each fact that was added."""
        for fact, count in self.counts.items():
            warn(f"{where}: {count} {fact}; the first is that of {self.first[fact]}")
