"""Flags to stages: `python -m must_keras.main --experiment=scenes --stage=all`."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

from absl import flags

from must_keras import command, experiment, stages
from must_keras.errors import UserError, nearest, not_allowed

_VIEWS = ("status", "check")
STAGES = ("all", *stages.NAMES, *_VIEWS)

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
    command.expect_flags_alone(argv)
    stage, only = _STAGE.value, tuple(_ONLY.value)
    if stage not in STAGES:
        raise not_allowed(f"stage={stage}", stage, STAGES, key="stage")
    is_checking = _VERIFY.value or _PLAN.value or _DIFF.value
    if is_checking and stage != "label":
        raise UserError("--verify, --plan and --diff belong to --stage=label")
    name, arguments = experiment.parse(_EXPERIMENT.value)
    experiment.find(name)
    with command.quiet_import():
        # TensorFlow is imported from here on.
        from must_keras.pseudo_labels import checks
        from must_keras.runs.executor import Executor
        from must_keras.stages.check import check
        from must_keras.stages.status import status

        all_stages = stages.load()

    load = functools.partial(experiment.load, name, arguments, data_dir=_DATA_DIR.value)
    executor = Executor(
        all_stages,
        load=load,
        workdir=pathlib.Path(_WORKDIR.value or experiment.default_workdir(name, arguments)),
        only=only,
        strategy=_STRATEGY.value,
        reuse=pathlib.Path(_REUSE.value) if _REUSE.value else None,
        make_labeler=_labeler(
            _LABEL_ENGINE.value, load, is_needed=stage not in _VIEWS and not is_checking
        ),
    )
    if stage == "status":
        executor.read(status, new=True, others=True)
    elif stage == "check":
        executor.read(lambda run, _: check(run))
    elif _VERIFY.value:
        executor.read(lambda run, _: checks.verify(run, only), name=stage)
    elif _PLAN.value:
        executor.read(lambda run, _: checks.print_plan(run, only), name=stage, new=True)
    elif _DIFF.value:
        executor.read(lambda run, _: checks.compare(run, pathlib.Path(_DIFF.value)), name=stage)
    else:
        executor.make(stage)


def _labeler(engine: str, load: Callable[[], Any], *, is_needed: bool) -> Callable[..., Any] | None:
    """Return what makes labels, see Run.make_labeler; None too where nothing is made.

    Raises:
        UserError: there is no such engine, or it takes no such argument.
    """
    name, arguments = experiment.parse(engine, "label_engine")
    if name == "local" and not arguments:
        return None
    if name != "ray":
        hint = nearest(engine, ("local", "ray"))
        raise UserError.of("", "label_engine", engine, hint)
    workers = arguments.pop("workers", None)
    if arguments or not (workers is None or (workers.isdecimal() and int(workers))):
        raise UserError.of("", "label_engine", engine, "allowed are ray and ray:workers=<1 and up>")
    if not is_needed:
        return None
    from must_keras.pseudo_labels import ray_labeler
    from must_keras.stages.label import writer_of

    ray_labeler.check_installed()
    return functools.partial(
        ray_labeler.RayLabeler, writer=writer_of, load=load, workers=workers and int(workers)
    )


def run() -> None:
    """Start the installed command."""
    command.run(main)


if __name__ == "__main__":
    run()
