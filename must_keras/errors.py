"""What may go wrong on the user's side."""


class UserError(Exception):
    """A user's mistake: one clear line that says what is wrong, where, and what is allowed.

    `main` prints it without a traceback and exits with status 2.
    """


class DataError(Exception):
    """Data that failed a check, in one clear line; `main` exits with status 3."""
