"""A step whose loss was not finite, computed again: `must-keras replay FOLDER`."""

import argparse
import pathlib
import sys

from must_keras import command


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=pathlib.Path, help="that of the message of the stopped run")


def main(given: argparse.Namespace) -> None:
    """Print each image's losses, and the gradient of each part of the network, of a kept step."""
    with command.quiet_import():
        from must_keras.training.diagnostics import replay

    print(replay(given.folder))


COMMAND = command.Command(
    name="replay",
    summary="Compute a step again whose loss was not finite.",
    add_arguments=_arguments,
    main=main,
)

if __name__ == "__main__":
    sys.exit(command.run_alone(COMMAND))
