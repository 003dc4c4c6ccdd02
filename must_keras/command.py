"""What the programs of this package share: flags, exit status, a quiet import of TensorFlow."""

import contextlib
import errno
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from absl import app, flags, logging

from must_keras import interruption
from must_keras.errors import DataError, UserError, nearest

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
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Of what it writes later, errors alone.
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
    """Raise UserError where a command line has more than flags."""
    if len(argv) > 1:
        message = f"unexpected argument {argv[1]!r}: flags have the form --name=value"
        raise UserError(message, value=argv[1])


def run(main: Callable[[list[str]], None]) -> NoReturn:
    """Parse the flags, run a program, and exit with its status.

    0: done. 2: a user's mistake. 3: data that failed a check. 75 and 130: interrupted by SIGTERM
    or the keyboard; the same command resumes. 1, with a traceback: a bug.
    """
    interruption.listen()
    app.run(lambda argv: _status(main, argv), flags_parser=_parse)


def _status(main: Callable[[list[str]], None], argv: list[str]) -> int:
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)  # TFDS logs every file.
    try:
        main(argv)
    except KeyboardInterrupt:
        return _end(130, f"interrupted; {_RESUME}")
    except (UserError, DataError) as error:
        status = 2 if isinstance(error, UserError) else 3
        return _end(status, f"error: {_with_flag(str(error), error.key)}")
    except interruption.Interrupted as error:
        return _end(75, f"interrupted: {error}; {_RESUME}")
    except Exception as error:
        # TensorFlow's own code makes another exception of the one that SIGTERM raises within it.
        if interruption.asked():
            return _end(75, f"interrupted: SIGTERM; {_RESUME}")
        outside = _outside(error)
        if outside is None:
            raise
        return _end(2, f"error: {outside}")
    return 0


def _end(status: int, message: str) -> int:
    print(message, file=sys.stderr)
    return status


def _with_flag(message: str, key: str | None) -> str:
    """Return a message in which `key=`, of an argument, is written as the flag of that name."""
    if key not in flags.FLAGS:
        return message
    return re.sub(rf"(?<![\w-]){key}=", f"--{key}=", message)


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
