"""Python programs in processes of their own, which need not import TensorFlow again.

A server, one for each pytest process, imports TensorFlow once; every program is a fork of it, with
memory, flags, signals and an exit status of its own. Importing TensorFlow takes about 3 s of CPU,
a fork none. What a program imports besides, must_keras above all, it imports itself.
"""

import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parents[1]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tensorflow", "keras", "tensorflow_datasets"])


class Program:
    """A running program, with the methods of `subprocess.Popen` that tests use.

    Args:
        arguments: as after `python`: ("-m", module, ...), ("-c", code, ...) or (file, ...).
        cwd: the folder to run in.
        env: the environment; None for that of the tests.
        merged: whether stdout gets what is written to stderr, too.

    Example:
        >>> Program(["-c", "print(1)"]).communicate()
        ('1\\n', '')
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        cwd: str | os.PathLike = ROOT,
        env: Mapping[str, str] | None = None,
        merged: bool = False,
    ):
        self._folder = tempfile.TemporaryDirectory()
        self._streams = [pathlib.Path(self._folder.name, name) for name in ("stdout", "stderr")]
        for path in self._streams:
            path.touch()
        streams = [self._streams[0]] * 2 if merged else self._streams
        # The level is read once, when TensorFlow is imported.
        with mock.patch.dict(os.environ, {"TF_CPP_MIN_LOG_LEVEL": "2"}):
            forkserver.ensure_running()
        environment = dict(os.environ if env is None else env)
        given = [str(argument) for argument in arguments]
        self._process = _CONTEXT.Process(
            target=_main, args=(given, str(cwd), environment, *map(str, streams))
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status.

        Raises:
            subprocess.TimeoutExpired: the program still runs after `timeout` seconds.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a program of the tests", timeout)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end; return stdout and stderr."""
        self.wait(timeout)
        out, err = (path.read_text() for path in self._streams)
        return out, err


def run(
    arguments: Sequence[str],
    *,
    cwd: str | os.PathLike = ROOT,
    env: Mapping[str, str] | None = None,
    check: bool = False,
) -> subprocess.CompletedProcess:
    """Run a program to its end, as `subprocess.run` with captured text."""
    program = Program(arguments, cwd=cwd, env=env)
    out, err = program.communicate()
    found = subprocess.CompletedProcess(list(arguments), program.returncode, out, err)
    if check and found.returncode:
        raise AssertionError(f"exit status {found.returncode}: {err[-3000:]}")
    return found


def stop_server() -> None:
    """End the server, so that its time counts as that of the tests."""
    forkserver._forkserver._stop()


def _main(arguments: list[str], cwd: str, env: dict[str, str], stdout: str, stderr: str) -> None:
    for number, path in ((1, stdout), (2, stderr)):
        stream = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    own = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    installed = [path for path in sys.path if path.startswith((sys.prefix, sys.base_prefix))]
    sys.path[:] = [cwd, *own, *installed]
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = arguments
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")
