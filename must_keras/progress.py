"""Progress of a run, for a person (a bar in a terminal, lines in a log) and for programs."""

import logging
import os
import pathlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from must_keras.json_files import write_json
from must_keras.log import LOG

Item = TypeVar("Item")
_SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Steps towards a known end: a bar in a terminal; else a line every few seconds.

    Args:
        title: what is being done.
        total: the number of steps.
        folder: where `record` writes progress.json; None: nowhere.
        done: steps that an earlier process made.

    Example:
        progress = Progress("labels of depth", total=100)
        progress.advance(10)  # labels of depth: 10/100, 3 s left
        progress.close()
    """

    def __init__(
        self, title: str, total: int, folder: pathlib.Path | None = None, *, done: int = 0
    ):
        self._title, self._total, self._folder = title, total, folder
        self._step = self._done = done
        self._start = self._last_line = time.monotonic()
        self._is_shown = LOG.isEnabledFor(logging.INFO)
        self._terminal = self._is_shown and sys.stderr.isatty()
        self._bar = tqdm(
            total=total, initial=done, desc=title, leave=True, disable=not self._terminal
        )

    def advance(self, count: int = 1, note: str = "") -> None:
        """Add `count` steps; `note` is shown beside the count."""
        self._step += count
        if self._terminal:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
            return
        now = time.monotonic()
        if not self._is_shown:
            return
        if now - self._last_line >= _SECONDS_BETWEEN_LINES or self._step >= self._total:
            self._last_line = now
            each = (now - self._start) / (self._step - self._done)
            left = each * (self._total - self._step)
            # The first step traces the network: it says nothing about those after it.
            is_first = self._step - self._done <= 1 < self._total - self._done
            text = "" if is_first else f", {left:.0f} s left"
            line = f"{self._title}: {self._step}/{self._total}{text}  {note}"
            print(line, file=sys.stderr, flush=True)

    def record(self) -> None:
        """Write progress.json, see `record`."""
        if self._folder is not None:
            record(self._folder, self._step, self._total)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()


def record(folder: pathlib.Path, step: int, of: int) -> None:
    """Write progress.json, {"pid", "step", "of"}, for programs that watch a run."""
    write_json(folder / "progress.json", {"pid": os.getpid(), "step": step, "of": of})


def track(items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
    """Yield the items, and show their progress."""
    progress = Progress(title, total)
    for item in items:
        yield item
        progress.advance()
    progress.close()
