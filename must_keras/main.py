"""Flags to recipe to stages: `python -m must_keras.main --experiment=scenes --stage=all`."""

from __future__ import annotations

import functools
import pathlib

from absl import flags

from must_keras import command, experiment
from must_keras.errors import UserError

STAGES = (
    "all", "teacher", "label", "student", "rounds", "supervised", "selfsup", "transfer", "export",
    "report", "status", "check",
)  # fmt: skip

_EXPERIMENT = flags.DEFINE_string(
    "experiment", "scenes", "A recipe in experiments/ or the path of your own, with arguments: "
    "'scenes:seed=1,starts=random+student'.",
)  # fmt: skip
_STAGE = flags.DEFINE_string(
    "stage", "all", f"What to do, one of {', '.join(STAGES)}; it continues what is there."
)
_ONLY = flags.DEFINE_list(
    "only", [], "Names of the teachers, self-supervised methods or transfers to do; default is all."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; default is runs/<experiment>.")
_REUSE = flags.DEFINE_string(
    "reuse", None, "The folder of another run: what is finished there and the same is taken."
)
_VERIFY = flags.DEFINE_bool("verify", False, "With --stage=label: read the columns back instead.")
_PLAN = flags.DEFINE_bool("plan", False, "With --stage=label: say what it will take instead.")
_DIFF = flags.DEFINE_string(
    "diff",
    None,
    "With --stage=label: compare with another run's labels/<teacher>/<source> instead.",
)
_LABEL_ENGINE = flags.DEFINE_string(
    "label_engine", "local", "Where labels are made: local, in this process, or on Ray: ray, or "
    "ray:workers=4.",
)  # fmt: skip
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS keeps its data sets.")
_STRATEGY = flags.DEFINE_string(
    "strategy", "auto", "Devices to train on: auto, one, mirrored, multiworker or tpu."
)


def main(argv: list[str]) -> None:
    """Runs the stages that the flags ask for."""
    command.expect_flags_alone(argv)
    if _STAGE.value not in STAGES:
        raise UserError(f"--stage={_STAGE.value}: {experiment.nearest(_STAGE.value, STAGES)}")
    name, arguments = experiment.parse(_EXPERIMENT.value)
    experiment.find(name)
    with command.without_greetings():
        from must_keras.runs import executor

    executor.run(
        _STAGE.value,
        recipe=functools.partial(experiment.load, name, arguments, data_dir=_DATA_DIR.value),
        workdir=pathlib.Path(_WORKDIR.value or experiment.default_workdir(name, arguments)),
        only=tuple(_ONLY.value),
        strategy=_STRATEGY.value,
        label_engine=_LABEL_ENGINE.value,
        reuse=pathlib.Path(_REUSE.value) if _REUSE.value else None,
        verify=_VERIFY.value,
        plan=_PLAN.value,
        diff=pathlib.Path(_DIFF.value) if _DIFF.value else None,
    )


def run() -> None:
    """The entry point of the installed command."""
    command.run(main)


if __name__ == "__main__":
    run()
