"""SIGTERM: what a machine says before it takes itself back."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_STOPPED = "stopped by SIGTERM; finished parts are kept"


class ToBeContinued(BaseException):
    """The run stops here and the same command goes on; says what was saved.

    It can rise anywhere, as KeyboardInterrupt can: no `except Exception` may take it for a mistake
    of what it interrupts.
    """


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
        raise ToBeContinued(_STOPPED)


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Within, SIGTERM raises nothing: the work asks for it (`asked`) at moments that suit it."""
    _State.postponed = True
    try:
        yield
    finally:
        _State.postponed = False


def stop_if_asked() -> None:
    """Raises ToBeContinued where SIGTERM has come and was postponed."""
    if _State.asked:
        raise ToBeContinued(_STOPPED)


def asked() -> bool:
    """Whether SIGTERM has come."""
    return _State.asked
