"""Handlers of signals that a call from Python installs, and removes again."""

import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from must_keras import interruption
from must_keras.interruption import Interrupted

ROOT = pathlib.Path(__file__).resolve().parents[1]


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_the_handler_is_restored():
    before = signal.getsignal(signal.SIGTERM)
    for _ in range(2):  # A second run is not stopped by the first one's signal.
        with pytest.raises(Interrupted), interruption.listening():
            interruption.stop_if_asked()
            terminate()
        assert signal.getsignal(signal.SIGTERM) is before and not interruption.asked()
    with interruption.listening():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_a_library_makes_of_it():
    with pytest.raises(Interrupted) as error, interruption.listening():
        try:
            terminate()
        except Interrupted:
            raise RuntimeError("the library's own") from None
    assert isinstance(error.value.__cause__, RuntimeError)
    with pytest.raises(RuntimeError), interruption.listening():
        raise RuntimeError("without a signal")


def test_the_keyboard_stops_at_once_where_nothing_is_postponed():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="Ctrl-C; complete") as error, interruption.listening():
        signal.raise_signal(signal.SIGINT)
    assert error.value.by_keyboard and signal.getsignal(signal.SIGINT) is before


def test_the_keyboard_is_postponed_once(capfd):
    with pytest.raises(KeyboardInterrupt), interruption.listening(), interruption.postponed():
        signal.raise_signal(signal.SIGINT)
        assert interruption.asked()
        stop = interruption.stopped_at(3, 9)
        signal.raise_signal(signal.SIGINT)
    assert str(stop) == "stopped by Ctrl-C at step 3 of 9, which is saved" and stop.by_keyboard
    assert capfd.readouterr().err == (
        "\nstopping at the end of this step; Ctrl-C again stops at once\n"
    )


def test_a_second_ctrl_c_ends_a_program_that_computes_in_c():
    code = (
        "import hashlib, os, signal, threading, time\n"
        "from must_keras import interruption\n"
        "def send():\n"
        "    for _ in range(2):\n"
        "        os.kill(os.getpid(), signal.SIGINT); time.sleep(0.3)\n"
        "with interruption.listening(exits=True), interruption.postponed():\n"
        "    threading.Timer(0.3, send).start()\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)\n"  # No handler of Python runs meanwhile.
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60)
    assert answer.returncode == 130 and not answer.stdout
    assert answer.stderr.splitlines()[1::2] == [
        b"stopping at the end of this step; Ctrl-C again stops at once",
        b"stopped at once; re-run the same command to resume",
    ]


def test_a_forked_process_is_not_counted():
    """A terminal signals both processes."""
    code = (
        "import os, signal, time\n"
        "from must_keras import interruption\n"
        "with interruption.listening(exits=True), interruption.postponed():\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        signal.signal(signal.SIGINT, lambda *_: None); time.sleep(0.5); os._exit(0)\n"
        "    time.sleep(0.2)\n"
        "    for process in (child, os.getpid()):\n"
        "        os.kill(process, signal.SIGINT)\n"
        "    os.waitpid(child, 0)\n"
        "    assert interruption.asked()\n"
        "print('saved')\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60)
    assert (answer.returncode, answer.stdout) == (0, b"saved\n"), answer.stderr


def test_one_ctrl_c_is_as_in_a_library():
    with pytest.raises(Interrupted), interruption.listening(exits=True):
        signal.raise_signal(signal.SIGINT)
    assert signal.set_wakeup_fd(-1) == -1


def test_another_thread_changes_no_handler():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with interruption.listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
