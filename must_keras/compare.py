"""Several runs of one recipe as one result: `python -m must_keras.compare RUN RUN... --to=FILE`.

The runs are made with different seeds, each with everything that belongs to it:

    python -m must_keras.main --experiment=scenes:seed=0 --workdir=runs/scenes-0
    python -m must_keras.main --experiment=scenes:seed=1 --workdir=runs/scenes-1
"""

from __future__ import annotations

import pathlib

from absl import flags

from must_keras import command
from must_keras.errors import UserError

_TO = flags.DEFINE_string("to", None, "A new JSON file for the numbers.")


def main(argv: list[str]) -> None:
    """Prints a table and a verdict for every protocol, and writes their numbers."""
    with command.without_greetings():
        from must_keras.files import write_json
        from must_keras.stages.report import combined

    to = None if _TO.value is None else pathlib.Path(_TO.value)
    if to is not None and to.exists():
        raise UserError(f"--to={to} is there already; a new file is needed")
    if len(argv) < 2:
        raise UserError("give the folders of the runs")
    compared = combined.show([pathlib.Path(folder) for folder in argv[1:]])
    if to is not None:
        write_json(to, compared)


def run() -> None:
    """The entry point."""
    command.run(main)


if __name__ == "__main__":
    run()
