"""What a run reports while it works: one logger, "must_keras", for terminal, file and notebook.

As it stands, messages go to stdout and warnings to stderr, as plain lines. A program changes that
as with any logger:

    log = logging.getLogger("must_keras")
    log.setLevel(logging.WARNING)                  # warnings alone, and no progress
    log.addHandler(logging.FileHandler("a.log"))   # to a file too
"""

import logging
import sys


class _Printed(logging.Handler):
    """Prints each message as it is, to what is stdout or stderr at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        is_warning = record.levelno >= logging.WARNING
        print(self.format(record), file=sys.stderr if is_warning else sys.stdout)


LOG = logging.getLogger("must_keras")
LOG.setLevel(logging.INFO)
# The root logger's handlers would print the same again.
LOG.propagate = False
LOG.addHandler(_Printed())
