"""SIGTERM: what a machine says before it takes itself back."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class ToBeContinued(Exception):  # noqa: N818
    """The run stops here and the same command goes on; says what was saved."""


class _State:
    """Whether SIGTERM has come, and whether it must wait for a good moment."""

    asked = False
    postponed = False


def listen() -> None:
    """From now on SIGTERM raises ToBeContinued in the main thread, or waits where it must.

    A second one ends the process at once.
    """
    signal.signal(signal.SIGTERM, _handle)


def stop_listening() -> None:
    """Until the next `listen` SIGTERM ends the process at once: there is nothing to save."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _handle(number: int, frame: FrameType | None) -> None:
    del number, frame
    stop_listening()
    _State.asked = True
    if not _State.postponed:
        raise ToBeContinued("stopped by SIGTERM; finished parts are kept")


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Within, SIGTERM raises nothing: the work asks for it (`asked`) at moments that suit it."""
    _State.postponed = True
    try:
        yield
    finally:
        _State.postponed = False


def asked() -> bool:
    """Whether SIGTERM has come."""
    return _State.asked
