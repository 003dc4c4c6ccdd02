"""What the programs of this package share: arguments, exit status, a quiet import of TensorFlow."""

import argparse
import contextlib
import dataclasses
import errno
import itertools
import json
import logging
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from absl import app, flags
from absl import logging as absl_logging

from must_keras import interruption
from must_keras.errors import DataError, UserError, nearest, not_allowed
from must_keras.log import formatted

# Arguments of a run that messages name; every program prints them as flags of `must-keras run`.
OF_RUNS = ("stage", "only", "workdir", "reuse", "strategy")
_RESUME = "re-run the same command to resume"
# What a user can fix: no space, no permission, a disk that cannot be written.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OUTSIDE = (*_NO_SPACE, errno.EACCES, errno.EPERM, errno.EROFS)
# A file where a folder belongs, or the reverse.
_IN_THE_WAY = (errno.EEXIST, errno.EISDIR, errno.ENOTDIR)


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Hide what TensorFlow writes to stderr, at any log level, while it is imported.

    Where the import fails, all of it is written.
    """
    # Errors of TensorFlow reach Python; what it writes later as such (oneDNN's types) are none.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # On its first import TensorFlow lowers its own level to INFO in a notebook.
    of_tensorflow = set() if "tensorflow" in sys.modules else {logging.INFO}
    with quiet_stderr():
        yield
    # Its warnings count traces of functions, of which each network has its own.
    logger = logging.getLogger("tensorflow")
    if logger.level in {logging.NOTSET, logging.WARNING} | of_tensorflow:
        logger.setLevel(logging.ERROR)


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hide what is written to stderr, by libraries in C++ too; where an error is raised, write it.

    The process must not write to it from another thread.
    """
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(stderr, kept.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """A program with arguments of its own: `must-keras NAME ...`.

    Attributes:
        name: of the program; two words in a group of commands: "labels export".
        summary: what it does, a line.
        add_arguments: adds its arguments to a parser, and imports nothing heavy.
        main: does its work with the parsed arguments.

    Example:
        COMMAND = Command(name="replay", summary="...", add_arguments=_arguments, main=main)
        run_one_of([COMMAND])
    """

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    main: Callable[[argparse.Namespace], None]


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are errors of one line, and whose options have no abbreviation."""

    def __init__(self, **arguments: Any):
        super().__init__(**arguments, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UserError(message)

    @property
    def options(self) -> list[str]:
        """Names of all options but help, without dashes."""
        names = (text for action in self._actions for text in action.option_strings)
        return [name.removeprefix("--") for name in names if name not in ("-h", "--help")]

    def check_options(self, argv: Sequence[str]) -> None:
        """Raise UserError where an option is unknown, whatever else is missing."""
        for text in itertools.takewhile(lambda text: text != "--", argv):
            name = text.partition("=")[0].removeprefix("--")
            if text.startswith("--") and name not in (*self.options, "help"):
                raise not_allowed(f"unknown option --{name}", name, self.options)


def run_one_of(commands: Sequence[Command], argv: Sequence[str] | None = None) -> int:
    """Run the command that a command line names; return its exit status (see `run`).

    Args:
        commands: of `must-keras`.
        argv: the command's name and arguments; None: those of this process.
    """
    parser = _Parser(prog="must-keras", description="Multi-Task Self-Training in Keras 3.")
    parsers = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    for one in commands:
        one.add_arguments(parsers.add_parser(one.name, help=one.summary, description=one.summary))
    argv = sys.argv[1:] if argv is None else argv
    named = {one.name: one for one in commands}
    # A name may have two words: "labels export".
    words = list(itertools.takewhile(lambda text: not text.startswith("-"), argv))
    for name in (" ".join(words[:2]), *words[:1]):
        if name in named:
            return _run(parsers.choices[name], named[name], argv[len(name.split()) :])
    if words:
        group = [name for name in named if name.startswith(f"{words[0]} ")]
        wanted = " ".join(words[:2]) if group else words[0]
        error = not_allowed(f"there is no command {wanted!r}", wanted, group or named)
        return _end(2, f"error: {error}")
    # For its help.
    return _status(lambda: parser.parse_args(argv), ())


def run_alone(command: Command, argv: Sequence[str] | None = None) -> int:
    """Run one command as a program of its own; return its exit status (see `run`)."""
    parser = _Parser(prog=f"python -m must_keras.{command.name}", description=command.summary)
    command.add_arguments(parser)
    return _run(parser, command, sys.argv[1:] if argv is None else argv)


def _run(parser: _Parser, command: Command, argv: Sequence[str]) -> int:
    def work() -> None:
        parser.check_options(argv)
        given, surplus = parser.parse_known_args(argv)
        if surplus:
            raise UserError(f"unexpected argument {surplus[0]!r}", value=surplus[0])
        command.main(given)

    return _status(work, parser.options)


def run(main: Callable[[list[str]], None]) -> NoReturn:
    """Parse absl's flags, run a program, and exit with its status.

    0: done. 2: a user's mistake. 3: data that failed a check. 75 and 130: interrupted by SIGTERM
    or the keyboard; the same command resumes. 1, with a traceback: a bug.
    """

    def checked(argv: list[str]) -> int:
        quiet = not flags.FLAGS["verbosity"].present
        return _status(lambda: main(argv), flags.FLAGS, quiet=quiet)

    app.run(checked, flags_parser=_parse)


def _status(work: Callable[[], None], options: Collection[str], *, quiet: bool = True) -> int:
    """Do some work and return the exit status, with a line on stderr where it is not 0."""
    if quiet:
        absl_logging.set_verbosity(absl_logging.ERROR)  # TFDS logs every file.
    try:
        with interruption.listening(exits=True), formatted(_Flags()):
            work()
    except KeyboardInterrupt:
        return _end(130, f"interrupted; {_RESUME}")
    except (UserError, DataError) as error:
        status = 2 if isinstance(error, UserError) else 3
        message = as_flags(_with_option(str(error), error.key, options))
        return _end(status, f"error: {message}")
    except interruption.Interrupted as error:
        return _end(130 if error.by_keyboard else 75, f"interrupted: {error}; {_RESUME}")
    except Exception as error:
        outside = _outside(error)
        if outside is None:
            raise
        return _end(2, f"error: {outside}")
    return 0


def _end(status: int, message: str) -> int:
    print(message, file=sys.stderr)
    return status


def run_line(recipe: str, options: Mapping[str, Any]) -> str:
    """Return the command line that makes what is left of a run.

    Example:
        >>> run_line("mine.py:data=garden", {"workdir": "runs/mine", "reuse": None})
        'must-keras run mine.py:data=garden --workdir=runs/mine'
    """
    flags = [f"--{name}={value}" for name, value in options.items() if value is not None]
    return shlex.join(["must-keras", "run", recipe, *flags])


def as_flags(message: str) -> str:
    """Return a message in which the arguments of a run are written as flags.

    Args:
        message: of the library; it states arguments as `errors.argument` does, or `workdir` alone.

    Example:
        >>> as_flags('run stage="all", reuse="a b" in another `workdir`')
        "run --stage=all '--reuse=a b' in another --workdir"
    """
    names = "|".join(OF_RUNS)
    # Between two arguments of Python there is a comma, between two flags there is none.
    stated = rf'(?<!\w)({names})=("(?:[^"\\]|\\.)*")(?:,(?= (?:{names})="))?'
    message = re.sub(stated, lambda m: shlex.quote(f"--{m[1]}={json.loads(m[2])}"), message)
    return re.sub(rf"`({names})`", r"--\1", message)


class _Flags(logging.Formatter):
    """Formats messages for somebody at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return as_flags(super().format(record))


def _with_option(message: str, key: str | None, options: Collection[str]) -> str:
    """Return a message in which `key=`, of an argument, is written as the option of that name."""
    option = next((o for o in options if o.replace("-", "_") == key), None)
    if option is None:
        return message
    message = re.sub(rf"(?<![\w-]){key}=True\b", f"--{option}", message)
    return re.sub(rf"(?<![\w-]){key}=", f"--{option}=", message)


def _outside(error: Exception) -> str | None:
    """Return what is wrong with the machine, where that is all that is wrong."""
    if isinstance(error, OSError) and error.errno in _OUTSIDE:
        return f"{error.filename or 'a file'}: {error.strerror}"
    if isinstance(error, OSError) and error.errno in _IN_THE_WAY and error.filename:
        return f"{error.filename}: {error.strerror}; rename or delete what is there"
    # A full disk has as many exceptions as there are libraries that write.
    texts = [os.strerror(number) for number in _NO_SPACE]
    lines = [line for line in str(error).splitlines() if any(text in line for text in texts)]
    return lines[-1].strip() if lines else None


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        known = [flag.name for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0])]
        hint = nearest(error.flagname, known)
        sys.exit(_end(2, f"error: unknown flag --{error.flagname}; {hint}"))
    except flags.Error as error:
        sys.exit(_end(2, f"error: {error}"))
