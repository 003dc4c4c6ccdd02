"""What the program does: `--stage` names one of these files, and "all" runs them in this order."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from must_keras.data.pipeline import errors_of_sources
from must_keras.errors import UserError
from must_keras.experiment import nearest, parse
from must_keras.files import locked, write_json
from must_keras.runs.marks import check_root
from must_keras.config.recipe import Recipe, student_weights
from must_keras.stages import check, export, label, rounds, selfsup, student, supervised, teacher, transfer
from must_keras.pseudo_labels import examples, checks, leakage, ray_labeler
from must_keras.runs import preflight, overlap, graph, pools, seconds, status
from must_keras import report
from must_keras.pseudo_labels.labeler import Labeler, Writes
from must_keras.training.strategy import chief_alone, chief_says, is_chief, lost_workers, make_strategy, wait_for_all
from must_keras.versions import git_commit, versions
from must_keras.runs.workdir import RUN, Workdir, describe, other_runs

_ORDER = {
    "teacher": teacher.run,
    "label": label.run,
    "student": student.run,
    "rounds": rounds.run,
    "supervised": supervised.run,
    "selfsup": selfsup.run,
    "transfer": transfer.run,
    "export": export.run,
    "report": report.run,
}
# Those in which all processes take part.
_TRAINING = ("teacher", "student", "supervised", "selfsup", "transfer")
_LOOKS = {"status": status.run, "check": check.run}


def run(
    stage: str,
    *,
    recipe: Callable[[], Recipe],
    workdir: pathlib.Path,
    only: tuple[str, ...],
    strategy: str,
    label_engine: str = "local",
    reuse: pathlib.Path | None = None,
    verify: bool = False,
    plan: bool = False,
    diff: pathlib.Path | None = None,
) -> None:
    """Runs one stage, or all of them in order.

    Where several processes train together, what is not training is the chief's work, and the
    others wait for it.

    Args:
        stage: a name in this package, or "all".
        recipe: gives the values; several processes must know of each other before TensorFlow runs,
            and workers on Ray call it themselves.
        workdir: the run's folder.
        only: names of teachers, self-supervised methods or transfers; empty: all.
        strategy: see training.strategy.make_strategy.
        label_engine: where labels are made: "local", "ray" or "ray:workers=<number>".
        reuse: the folder of another run whose finished parts may be taken.
        verify: with the stage label: reads the finished columns back instead.
        plan: with the stage label: says what labeling will take instead.
        diff: with the stage label: compares a column with this one instead.

    Raises:
        UserError: the stage cannot run as asked.
        ToBeContinued: another process is gone.
    """
    if (verify or plan or diff) and stage != "label":
        raise UserError("--verify, --plan and --diff belong to --stage=label")
    if stage in _LOOKS or verify or plan or diff:
        # Status takes nothing, and looks up what would be taken.
        is_status = stage == "status"
        others = other_runs(workdir, reuse) if is_status else ()
        run_folder, values = Workdir(workdir, others), recipe()
        check_root(workdir)
        _check_names(values, stage, only)
        values = pools.frozen(values, run_folder, new=plan or is_status, reads=not is_status)
        if not is_status:
            pools.tell(values, run_folder)
        if verify:
            checks.verify(values, run_folder, only)
        elif plan:
            checks.plan(values, run_folder, only)
        elif diff:
            checks.compare(values, run_folder, diff)
        else:
            _LOOKS[stage](values, run_folder)
        return
    order = _ORDER | {
        "label": functools.partial(label.run, labelers=_labelers(label_engine, recipe))
    }
    devices = make_strategy(strategy)
    with errors_of_sources(), lost_workers(devices):
        values = recipe()
        _check_names(values, stage, only)
        with devices.scope():
            for training in values.trainings:
                training.check_devices()
            chief = is_chief()
        run_folder = Workdir(workdir, other_runs(workdir, reuse))
        _alone(devices, _look, stage, values, run_folder)
        with locked(workdir) if chief else contextlib.nullcontext():
            _alone(devices, _prepare, stage, values, run_folder, strategy)
            values = pools.frozen(values, run_folder, new=False)

            make = functools.partial(_make, order=order, devices=devices)
            for name in _stages(values) if stage == "all" else (stage,):
                start = time.monotonic()
                if name == "rounds":
                    _make_rounds(values, run_folder, make, devices)
                if name in ("supervised", "selfsup"):
                    # They need no labels, so no label stage need have compared their images.
                    _alone(devices, _compare, name, values, run_folder)
                make(name, values, run_folder, only)
                if name == "label":
                    # What it found in the pools may concern a finished student.
                    check_again = functools.partial(graph.check, growth_stops=False)
                    _alone(devices, check_again, values, run_folder, stage)
                if chief:
                    if name == "student":
                        # It may have learned its loss weights.
                        _record(values, run_folder, strategy)
                    seconds.add(workdir, name, time.monotonic() - start)


def _make(
    name: str,
    recipe: Recipe,
    workdir: Workdir,
    only: tuple[str, ...],
    *,
    order: Mapping[str, Callable[..., None]],
    devices: tf.distribute.Strategy,
) -> None:
    """Runs a stage in the processes that take part in it."""
    if name in _TRAINING:
        with devices.scope():
            order[name](recipe, workdir, only)
            wait_for_all()
    else:
        _alone(devices, order[name], recipe, workdir, only)


def _alone(devices: tf.distribute.Strategy, work: Callable[..., None], *arguments: Any) -> None:
    """Lets the chief work, and the others wait for it."""
    with devices.scope():
        chief = is_chief()
    with chief_alone(devices):
        if chief:
            work(*arguments)


def _make_rounds(
    recipe: Recipe,
    workdir: Workdir,
    make: Callable[..., None],
    devices: tf.distribute.Strategy,
) -> None:
    """Makes the rounds after the first, as long as there is a next one."""

    def following() -> int:
        with devices.scope():
            return int(chief_says(lambda: rounds.following(recipe, workdir)))

    while number := following():
        print(f"round {number} of at most {recipe.rounds}: the last student labels")
        made = rounds.of(recipe, workdir, number)
        # Workers on Ray know the pools by the lists of the folder that they write to.
        _alone(devices, pools.keep, made.recipe, made.workdir)
        for stage in rounds.STAGES:
            make(stage, made.recipe, made.workdir, ())


def _labelers(
    engine: str, recipe: Callable[[], Recipe]
) -> Callable[..., contextlib.AbstractContextManager[Writes]]:
    """What makes labels (see label.run).

    Raises:
        UserError: there is no such engine, or it takes no such argument.
    """
    name, arguments = parse(engine, "--label_engine")
    if name == "local" and not arguments:
        return Labeler
    if name != "ray":
        raise UserError(f"--label_engine={engine}: {nearest(engine, ('local', 'ray'))}")
    workers = arguments.pop("workers", None)
    if arguments or not (workers is None or (workers.isdecimal() and int(workers))):
        raise UserError(f"--label_engine={engine}: allowed are ray and ray:workers=<1 and up>")
    ray_labeler.check_installed()
    return functools.partial(
        ray_labeler.RayLabeler, load=recipe, workers=workers and int(workers)
    )


def _look(stage: str, recipe: Recipe, workdir: Workdir) -> None:
    """Looks at the data, and makes the folder where nothing is wrong with them.

    Raises:
        UserError: the data or the folder are not what the stage needs.
    """
    check_root(workdir.root)
    overlap.check(recipe, workdir.root)
    if stage in ("all", "teacher"):
        preflight.run(recipe, workdir)
    try:
        workdir.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir={workdir.root} cannot be made: {error.strerror}") from None


def _prepare(stage: str, recipe: Recipe, workdir: Workdir, strategy: str) -> None:
    """Takes what other runs have, and writes down what this one is.

    Raises:
        UserError: what is finished is not what the recipe asks for.
    """
    recipe = pools.frozen(recipe, workdir, new=True)
    plan = graph.runnable(recipe, workdir, stage)
    pools.tell(recipe, workdir)
    # First the mark of a run: a folder without it is somebody else's.
    _record(recipe, workdir, strategy)
    if graph.take(plan):
        # A student that was taken may have learned its loss weights.
        _record(recipe, workdir, strategy)
    pools.keep(recipe, workdir)


def _compare(baseline: str, recipe: Recipe, workdir: Workdir) -> None:
    """Compares what a baseline learns from with the test splits, if need be."""
    is_supervised = baseline == "supervised"
    sources = recipe.labeled_sources if is_supervised else label.student_sources(recipe)
    if not examples.are_known(recipe, workdir, sources):
        leakage.run(recipe, workdir)


def _stages(recipe: Recipe) -> list[str]:
    """Those that "all" runs: rounds and baselines where a transfer starts from them."""
    idle = set() if recipe.wanted_supervised else {"supervised"}
    idle |= set() if recipe.wanted_rounds > 1 else {"rounds"}
    idle |= set() if recipe.wanted_selfsup else {"selfsup"}
    return [name for name in _ORDER if name not in idle]


def _check_names(recipe: Recipe, stage: str, only: tuple[str, ...]) -> None:
    if stage in _ORDER and stage not in _stages(recipe):
        raise UserError(
            f"--stage={stage}: no transfer of this recipe starts from it; "
            f"starts are {', '.join(recipe.start_names)}"
        )
    groups = (recipe.teachers, recipe.wanted_selfsup, recipe.transfers)
    teachers, methods, transfers = ([part.name for part in parts] for parts in groups)
    by_stage = {"teacher": teachers, "label": teachers, "selfsup": methods, "transfer": transfers}
    allowed = by_stage.get(stage, teachers + methods + transfers)
    for name in only:
        if name not in allowed:
            raise UserError(f"--only={name}: {nearest(name, allowed)}")


def _record(recipe: Recipe, workdir: Workdir, strategy: str) -> None:
    weights = {k: dataclasses.asdict(w) for k, w in student_weights(recipe).items()}
    for head, value in (workdir.student.result() or {}).get("loss_weights", {}).items():
        if weights.get(head, {}).get("source") == "learned":
            weights[head]["final"] = value
    value = {
        "recipe": describe(recipe),
        "seed": recipe.seed,
        "strategy": strategy,
        "loss_weights": weights,
        "versions": versions(),
        "git_commit": git_commit(),
    }
    write_json(workdir.root / RUN, value)
