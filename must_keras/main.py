"""Flags to recipe to stages: `python -m must_keras.main --experiment=scenes --stage=all`."""

from __future__ import annotations

import os
import pathlib
import sys

from absl import app, flags, logging

from must_keras import experiment
from must_keras.errors import DataError, UserError

STAGES = (
    "all", "teacher", "label", "student", "transfer", "export", "report", "status", "check",
)  # fmt: skip

_EXPERIMENT = flags.DEFINE_string(
    "experiment", "scenes", "A recipe in experiments/ or the path of your own, with arguments: "
    "'scenes:seed=1,starts=random+student'.",
)  # fmt: skip
_STAGE = flags.DEFINE_enum("stage", "all", STAGES, "What to do; it continues what is there.")
_ONLY = flags.DEFINE_list("only", [], "Names of the teachers or transfers to do; default is all.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; default is runs/<experiment>.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS keeps its data sets.")
_STRATEGY = flags.DEFINE_string("strategy", "auto", "Devices to train on: auto, one or mirrored.")


def main(argv: list[str]) -> None:
    """Runs the stages that the flags ask for."""
    if len(argv) > 1:
        raise UserError(f"unexpected argument {argv[1]!r}: flags have the form --name=value")
    name, arguments = experiment.parse(_EXPERIMENT.value)
    experiment.find(name)
    from must_keras import stages  # TensorFlow is imported from here on.

    stages.run(
        _STAGE.value,
        recipe=experiment.load(name, arguments, data_dir=_DATA_DIR.value),
        workdir=pathlib.Path(_WORKDIR.value or experiment.default_workdir(name, arguments)),
        only=tuple(_ONLY.value),
        strategy=_STRATEGY.value,
    )


def _main(argv: list[str]) -> int:
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)  # TFDS tells of every file.
    try:
        main(argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0


def run() -> None:
    """The entry point of the installed command."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    app.run(_main)


if __name__ == "__main__":
    run()
