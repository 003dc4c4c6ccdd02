"""How far something is, for a person (a bar in a terminal, lines in a log) and for programs."""

from __future__ import annotations

import os
import pathlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from must_keras.files import write_json

Item = TypeVar("Item")
_SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Counts steps towards a known end.

    In a terminal it is a bar; elsewhere a plain line every few seconds, with the time left.

    Args:
        title: what is being done.
        total: the number of steps.
        folder: where `progress.json` ({"pid", "step", "of"}) is kept; None: nowhere.
        done: steps that an earlier process made.
    """

    def __init__(
        self, title: str, total: int, folder: pathlib.Path | None = None, *, done: int = 0
    ):
        self._title, self._total, self._folder = title, total, folder
        self._step = self._done = done
        self._start = self._last_line = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total, initial=done, desc=title, leave=True, disable=not self._terminal
        )

    def advance(self, count: int = 1, note: str = "") -> None:
        """Moves on by `count` steps; `note` stands beside the count."""
        self._step += count
        if self._terminal:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
            return
        now = time.monotonic()
        if now - self._last_line >= _SECONDS_BETWEEN_LINES or self._step >= self._total:
            self._last_line = now
            each = (now - self._start) / (self._step - self._done)
            left = each * (self._total - self._step)
            print(
                f"{self._title}: {self._step}/{self._total}, {left:.0f} s left  {note}",
                file=sys.stderr,
                flush=True,
            )

    def record(self) -> None:
        """Renames a new progress.json into place."""
        if self._folder is not None:
            record(self._folder, self._step, self._total)

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()


def record(folder: pathlib.Path, step: int, of: int) -> None:
    """Renames a new progress.json ({"pid", "step", "of"}) into place."""
    write_json(folder / "progress.json", {"pid": os.getpid(), "step": step, "of": of})


def track(items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
    """The items, with their progress shown."""
    progress = Progress(title, total)
    for item in items:
        yield item
        progress.advance()
    progress.close()
