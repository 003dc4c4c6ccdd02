"""A step whose loss was not finite, computed again: `python -m must_keras.replay FOLDER`."""

import pathlib

from must_keras import command
from must_keras.errors import UserError


def main(argv: list[str]) -> None:
    """Print each image's losses, and the gradient of each part of the network, of a kept step."""
    if len(argv) != 2:
        raise UserError("give one folder, that of the message of the stopped run")
    with command.quiet_import():
        from must_keras.training.diagnostics import replay

    print(replay(pathlib.Path(argv[1])))


def run() -> None:
    """Run the command."""
    command.run(main)


if __name__ == "__main__":
    run()
