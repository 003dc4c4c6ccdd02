"""absl's flags to a request: `python -m must_keras.main --experiment=scenes --stage=all`."""

import pathlib

from absl import flags

from must_keras import command, stages
from must_keras.errors import UserError, not_allowed
from must_keras.request import Request

STAGES = ("all", *stages.NAMES, "status", "check")

_EXPERIMENT = flags.DEFINE_string(
    "experiment", "scenes", "A recipe in experiments/ or the path of your own, with arguments: "
    "'scenes:seed=1,starts=random+student'.",
)  # fmt: skip
_STAGE = flags.DEFINE_string(
    "stage", "all", f"What to do, one of {', '.join(STAGES)}; complete work is skipped."
)
_ONLY = flags.DEFINE_list(
    "only", [], "Names of the teachers, self-supervised methods or transfers to make; default: all."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder; default is runs/<experiment>.")
_REUSE = flags.DEFINE_string(
    "reuse", None, "The folder of another run, whose complete and equal artifacts are reused."
)
_VERIFY = flags.DEFINE_bool(
    "verify", False, "With --stage=label: read the pseudo-label datasets back instead."
)
_PLAN = flags.DEFINE_bool("plan", False, "With --stage=label: print a cost estimate instead.")
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
    """Make, or view, what the flags ask for."""
    if len(argv) > 1:
        message = f"unexpected argument {argv[1]!r}: flags have the form --name=value"
        raise UserError(message, value=argv[1])
    stage = _STAGE.value
    if stage not in STAGES:
        raise not_allowed(f"stage={stage}", stage, STAGES, key="stage")
    if (_VERIFY.value or _PLAN.value or _DIFF.value) and stage != "label":
        raise UserError("--verify, --plan and --diff belong to --stage=label")
    request = Request(
        experiment=_EXPERIMENT.value,
        workdir=_WORKDIR.value and pathlib.Path(_WORKDIR.value),
        only=tuple(_ONLY.value),
        reuse=_REUSE.value and pathlib.Path(_REUSE.value),
        strategy=_STRATEGY.value,
        label_engine=_LABEL_ENGINE.value,
        data_dir=_DATA_DIR.value,
    )
    if stage == "status":
        request.status()
    elif stage == "check":
        request.check(as_json=True)
    elif _VERIFY.value:
        request.verify()
    elif _PLAN.value:
        request.plan()
    elif _DIFF.value:
        request.diff(pathlib.Path(_DIFF.value))
    else:
        request.make(stage)


def run() -> None:
    """Start the installed command."""
    command.run(main)


if __name__ == "__main__":
    run()
