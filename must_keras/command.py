"""What the programs of this package share: flags, exit status, a quiet TensorFlow."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from absl import app, flags, logging

from must_keras import experiment, interruption
from must_keras.errors import DataError, UserError

# What a user can mend: no space, no permission, a disk that cannot be written.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OUTSIDE = (*_NO_SPACE, errno.EACCES, errno.EPERM, errno.EROFS)
# A file where a folder belongs, or the reverse.
_IN_THE_WAY = (errno.EEXIST, errno.EISDIR, errno.ENOTDIR)


@contextlib.contextmanager
def without_greetings() -> Iterator[None]:
    """Keeps back what TensorFlow writes to stderr, whatever its log level, when it is imported."""
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


def expect_flags_alone(argv: Sequence[str]) -> None:
    """Raises UserError where a command line has more than flags."""
    if len(argv) > 1:
        raise UserError(f"unexpected argument {argv[1]!r}: flags have the form --name=value")


def run(main: Callable[[list[str]], None]) -> NoReturn:
    """Parses the flags, runs a program, and exits with its status.

    0 done, 2 a user's mistake, 3 data that failed a check, 75 stopped from outside and 130 from
    the keyboard: the same command goes on; 1, with a traceback, a bug.
    """
    interruption.listen()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    app.run(lambda argv: _status(main, argv), flags_parser=_parse)


def _status(main: Callable[[list[str]], None], argv: list[str]) -> int:
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)  # TFDS tells of every file.
    try:
        main(argv)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except interruption.ToBeContinued as stop:
        print(f"to be continued: {stop}; the same command goes on", file=sys.stderr)
        return 75
    except Exception as error:
        # TensorFlow's own code makes something else of what SIGTERM raises within it.
        if interruption.asked():
            print("to be continued: stopped by SIGTERM; the same command goes on", file=sys.stderr)
            return 75
        told = _told(error)
        if told is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        return 2
    return 0


def _told(error: Exception) -> str | None:
    """What is wrong with the machine, where that is all that is wrong."""
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
        hint = experiment.nearest(error.flagname, known)
        print(f"error: unknown flag --{error.flagname}: {hint}", file=sys.stderr)
        sys.exit(2)
    except flags.Error as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
