"""What a run reports while it works: one logger, "must_keras", for terminal, file and notebook.

As it stands, messages go to stdout and warnings to stderr, as plain lines. A program changes that
as with any logger:

    log = logging.getLogger("must_keras")
    log.setLevel(logging.WARNING)                  # warnings alone, and no progress
    log.addHandler(logging.FileHandler("a.log"))   # to a file too
"""

import contextlib
import logging
import sys
from collections.abc import Iterator


class _Printed(logging.Handler):
    """Prints each message as it is, to what is stdout or stderr at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        is_warning = record.levelno >= logging.WARNING
        print(self.format(record), file=sys.stderr if is_warning else sys.stdout)


LOG = logging.getLogger("must_keras")
LOG.setLevel(logging.INFO)
# The root logger's handlers would print the same again.
LOG.propagate = False
_PRINTED = _Printed()
LOG.addHandler(_PRINTED)


@contextlib.contextmanager
def formatted(formatter: logging.Formatter) -> Iterator[None]:
    """Print messages as a formatter returns them."""
    before = _PRINTED.formatter
    _PRINTED.setFormatter(formatter)
    try:
        yield
    finally:
        _PRINTED.setFormatter(before)
