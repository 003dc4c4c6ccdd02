"""SIGTERM and Ctrl-C: a request to stop, which a run follows at a moment that loses no work."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_KEPT = "{}; complete artifacts are kept"
_SAVING = b"\nstopping at the end of this step; Ctrl-C again stops at once\n"
# A number that no signal has.
_END = 0
_AT_ONCE = b"\nstopped at once; re-run the same command to resume\n"


class Interrupted(BaseException):
    """An interrupted run, which the same command resumes; its text is why, and what was saved.

    It can rise anywhere, as KeyboardInterrupt can: no `except Exception` may take it for a mistake
    of what it interrupts.

    Attributes:
        by_keyboard: whether a person pressed Ctrl-C; otherwise SIGTERM came.

    Example:
        try:
            mk.run("scenes")
        except mk.Interrupted as error:
            print(f"resume it later: {error}")
    """

    def __init__(self, text: str, *, by_keyboard: bool = False):
        super().__init__(text)
        self.by_keyboard = by_keyboard


class _State:
    """The number of the signal that has come, 0: none.

    Beside it, whether it must wait, and whether a thread sees it too.
    """

    asked: int = 0
    postponed = False
    is_watched = False


def listen() -> None:
    """Let SIGTERM and Ctrl-C raise Interrupted in the main thread, or wait where it is postponed.

    A second signal ends the work at once.
    """
    signal.signal(signal.SIGTERM, _handle)
    signal.signal(signal.SIGINT, _handle)


@contextlib.contextmanager
def listening(*, exits: bool = False) -> Iterator[None]:
    """Listen within the block, see `listen`; the handlers before it return at its end.

    Only the main thread of a process can receive signals: in another one nothing changes.

    Args:
        exits: whether a second Ctrl-C ends the process, of a program at a terminal. It does also
            while a library computes, where no handler of Python runs for minutes.

    Raises:
        Interrupted: a signal came, also where a library made another exception of it.

    Example:
        with listening():
            executor.make("all")
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    _State.asked = 0
    listen()
    try:
        with _watching() if exits else contextlib.nullcontext():
            yield
    except Exception as error:
        if asked():
            raise _by_signal(_KEPT) from error
        raise
    finally:
        _State.asked = 0
        for one, handler in before.items():
            # None: a handler that is not Python's, which cannot be named here.
            signal.signal(one, signal.SIG_DFL if handler is None else handler)


def stop_listening() -> None:
    """Let the next signal end the work at once: there is nothing to save."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _handle(number: int, frame: FrameType | None) -> None:
    stop_listening()
    _State.asked = number
    if not _State.postponed:
        raise _by_signal(_KEPT)
    if number == signal.SIGINT and not _State.is_watched:
        # Python's own streams may be in the middle of a line of their own.
        os.write(2, _SAVING)


@contextlib.contextmanager
def _watching() -> Iterator[None]:
    """Let a thread see each Ctrl-C at once: the second one ends the process."""
    received, sent = os.pipe()
    os.set_blocking(sent, False)
    before = signal.set_wakeup_fd(sent, warn_on_full_buffer=False)
    _State.is_watched = True
    # The keyboard signals a forked process too, which must not be counted as a second time.
    os.register_at_fork(after_in_child=_forget)
    thread = threading.Thread(target=_watch, args=(received,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        _State.is_watched = False
        os.write(sent, bytes([_END]))
        thread.join()
        os.close(sent)
        os.close(received)


def _forget() -> None:
    """Let no signal of a forked process reach the pipe of the one that forked it."""
    if _State.is_watched:
        signal.set_wakeup_fd(-1)


def _watch(received: int) -> None:
    """Read the numbers of signals from a pipe until the end is among them."""
    count = 0
    while _END not in (numbers := os.read(received, 64)):
        for _ in range(numbers.count(signal.SIGINT)):
            count += 1
            if count > 1:
                os.write(2, _AT_ONCE)
                os._exit(128 + signal.SIGINT)
            if _State.postponed and _State.asked in (0, signal.SIGINT):
                os.write(2, _SAVING)


def _by_signal(text: str) -> Interrupted:
    """Return the error of the signal that has come; "{}" in the text stands for its name."""
    by_keyboard = _State.asked == signal.SIGINT
    return Interrupted(text.format("Ctrl-C" if by_keyboard else "SIGTERM"), by_keyboard=by_keyboard)


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Keep signals from raising within the block, which calls `stop_if_asked` at good moments."""
    _State.postponed = True
    try:
        yield
    finally:
        _State.postponed = False


def stop_if_asked() -> None:
    """Raise Interrupted where a signal has come and was postponed."""
    if asked():
        raise _by_signal(_KEPT)


def asked() -> bool:
    """Return whether a signal has come."""
    return bool(_State.asked)


def stopped_at(step: int, of: int) -> Interrupted:
    """Return the error of a training that is saved at a step, also for another process's signal."""
    return _by_signal(f"stopped by {{}} at step {step} of {of}, which is saved")
