"""SIGTERM: a machine's request to stop soon, which a run follows at a moment that loses no work."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_STOPPED = "SIGTERM; complete artifacts are kept"


class Interrupted(BaseException):
    """An interrupted run, which the same command resumes; its text is why, and what was saved.

    It can rise anywhere, as KeyboardInterrupt can: no `except Exception` may take it for a mistake
    of what it interrupts.

    Example:
        try:
            mk.run("scenes")
        except mk.Interrupted as error:
            print(f"resume it later: {error}")
    """


class _State:
    """Whether SIGTERM has come, and whether it must wait for a good moment."""

    asked = False
    postponed = False


def listen() -> None:
    """Let SIGTERM raise Interrupted in the main thread, or wait where it is postponed.

    A second one ends the process at once.
    """
    signal.signal(signal.SIGTERM, _handle)


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Let SIGTERM raise Interrupted within the block; the handler before it returns at its end.

    Only the main thread of a process can receive signals: in another one nothing changes.

    Raises:
        Interrupted: SIGTERM came, also where a library made another exception of it.

    Example:
        with listening():
            executor.make("all")
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    _State.asked = False
    listen()
    try:
        yield
    except Exception as error:
        if _State.asked:
            raise Interrupted(_STOPPED) from error
        raise
    finally:
        _State.asked = False
        # None: a handler that is not Python's, which cannot be named here.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def stop_listening() -> None:
    """Let SIGTERM end the process at once until the next `listen`: there is nothing to save."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _handle(number: int, frame: FrameType | None) -> None:
    stop_listening()
    _State.asked = True
    if not _State.postponed:
        raise Interrupted(_STOPPED)


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Keep SIGTERM from raising within the block, which calls `stop_if_asked` at good moments."""
    _State.postponed = True
    try:
        yield
    finally:
        _State.postponed = False


def stop_if_asked() -> None:
    """Raise Interrupted where SIGTERM has come and was postponed."""
    if _State.asked:
        raise Interrupted(_STOPPED)


def asked() -> bool:
    """Return whether SIGTERM has come."""
    return _State.asked
