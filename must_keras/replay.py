"""A step whose loss was not finite, computed again: `python -m must_keras.replay FOLDER`."""

from __future__ import annotations

import pathlib

from must_keras import command
from must_keras.errors import UserError


def main(argv: list[str]) -> None:
    """Prints each image's losses and each part's gradient of a kept step."""
    if len(argv) != 2:
        raise UserError("give the one folder that the message of the stopped run names")
    with command.without_greetings():
        from must_keras.training.nonfinite import replay  # TensorFlow is imported from here on.

    print(replay(pathlib.Path(argv[1])))


def run() -> None:
    """The entry point."""
    command.run(main)


if __name__ == "__main__":
    run()
