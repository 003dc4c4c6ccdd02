"""Flags to recipe to stages: `python -m must_keras.main --experiment=scenes --stage=all`."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator

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
    with _without_greetings():
        from must_keras import stages  # TensorFlow is imported from here on.

    stages.run(
        _STAGE.value,
        recipe=experiment.load(name, arguments, data_dir=_DATA_DIR.value),
        workdir=pathlib.Path(_WORKDIR.value or experiment.default_workdir(name, arguments)),
        only=tuple(_ONLY.value),
        strategy=_STRATEGY.value,
    )


@contextlib.contextmanager
def _without_greetings() -> Iterator[None]:
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


def run() -> None:
    """The entry point of the installed command."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    app.run(_main, flags_parser=_parse)


if __name__ == "__main__":
    run()
