"""The executor: runs stages in order, in one process or many, from what they declare."""

import contextlib
import dataclasses
import itertools
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from must_keras.config.recipe import Recipe
from must_keras.data.pipeline import errors_of_sources
from must_keras.errors import UserError, argument, listed, not_allowed
from must_keras.files import locked
from must_keras.log import LOG
from must_keras.runs import plan, pools, preflight
from must_keras.runs.artifact import Artifact
from must_keras.runs.marks import check_root
from must_keras.runs.run import Run, other_runs
from must_keras.runs.stage import Further, Stage
from must_keras.training.strategy import (
    broadcast_from_chief,
    is_chief,
    lost_workers,
    make_strategy,
    on_chief,
    wait_for_all,
)

# Complete artifacts that a line names.
_MAX_NAMES = 4


@dataclasses.dataclass
class Executor:
    """Runs the stages of a run.

    Attributes:
        stages: in order; nothing else lists them.
        load: returns the recipe. Several processes must be connected before TensorFlow runs, so it
            is called when they are.
        workdir: the run's folder.
        only: names of artifacts to make; empty: all.
        strategy: see training.strategy.make_strategy.
        reuse: the folder of another run whose complete artifacts may be reused.
        make_labeler: see Run.
        experiment: see Run.

    Example:
        Executor(stages.load(), load=lambda: recipe, workdir=path).make("teacher")
    """

    stages: Sequence[Stage]
    _: dataclasses.KW_ONLY
    load: Callable[[], Recipe]
    workdir: pathlib.Path
    only: Sequence[str] = ()
    strategy: str = "auto"
    reuse: pathlib.Path | None = None
    make_labeler: Callable[..., Any] | None = None
    experiment: str | None = None

    # ---- what only reads ------------------------------------------------------------------------

    def read(
        self,
        view: Callable[[Run, Sequence[Stage]], None],
        *,
        name: str = "all",
        new: bool = False,
        others: bool = False,
    ) -> None:
        """Call a view of the run: status, or a check of its labels; no stage is made.

        Args:
            view: called with the run and its stages.
            name: of the stage whose artifacts `only` selects; "all" for those of every stage.
            new: whether its pools are as a run would list them now.
            others: whether other runs are searched for what is reusable; new images are not read.
        """
        run = self._open(others=others)
        check_root(run.path)
        self._check_only(run, [s for s in self.stages if name in ("all", s.name)])
        run = pools.frozen(run, new=new, reads=not others)
        if not others:
            pools.report_changes(run)
        view(run, self.stages)

    # ---- what makes artifacts -------------------------------------------------------------------

    def make(self, name: str = "all") -> None:
        """Make what is not complete of one stage, or of all of them in order.

        Where several processes train together, what is not training is the chief's work, and the
        others wait for it.

        Args:
            name: of a stage, or "all".

        Raises:
            UserError: the stage cannot run as asked.
            Interrupted: the process was asked to stop, or another one is gone.
        """
        self._devices = make_strategy(self.strategy)
        with errors_of_sources(), lost_workers(self._devices):
            run = self._open(others=True)
            chosen = self._chosen(run, name)
            with self._devices.scope():
                for training in run.recipe.trainings:
                    training.check_devices()
                chief = is_chief()
            self._on_chief(self._preflight, run, chosen)
            with locked(run.path) if chief else contextlib.nullcontext():
                self._on_chief(self._prepare, run, name)
                run = pools.frozen(run, new=False)
                for stage in chosen:
                    start = time.monotonic()
                    self._make_stage(stage, run, name)
                    if chief:
                        run.add_seconds(stage.name, time.monotonic() - start)
                        if any(training.epochs for training in run.recipe.trainings):
                            run.record()

    def _open(self, *, others: bool) -> Run:
        return Run(
            recipe=self.load(),
            path=self.workdir,
            others=other_runs(self.workdir, self.reuse) if others else (),
            strategy=self.strategy,
            make_labeler=self.make_labeler,
            experiment=self.experiment,
        )

    def _chosen(self, run: Run, name: str) -> list[Stage]:
        shown = [stage for stage in self.stages if stage.is_shown]
        if name == "all":
            chosen = [stage for stage in shown if stage.is_wanted(run)]
        else:
            chosen = [stage for stage in shown if stage.name == name]
            if not chosen[0].is_wanted(run):
                raise UserError(
                    f"{argument('stage', name)}: no transfer of this recipe starts from it; "
                    f"starts are {', '.join(run.recipe.start_names)}"
                )
        self._check_only(run, chosen)
        return chosen

    def _check_only(self, run: Run, stages: Sequence[Stage]) -> None:
        allowed = (_groups(run, stages) or _groups(run, self.stages)) if self.only else ()
        for name in self.only:
            if name not in allowed:
                raise not_allowed(f"only={name}", name, allowed, key="only")

    def _preflight(self, run: Run, chosen: Sequence[Stage]) -> None:
        """Check the data, and make the run's folder where nothing is wrong with them."""
        check_root(run.path)
        preflight.check_folders(run, self.stages)
        if chosen[0] is self.stages[0]:
            preflight.check_data(run)
        try:
            run.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{argument('workdir', run.path)} cannot be made: {error.strerror}"
            ) from None

    def _prepare(self, run: Run, name: str) -> None:
        """Reuse what other runs have, and record what this one is.

        Raises:
            UserError: what is complete is not what the recipe asks for.
        """
        run = pools.frozen(run, new=True)
        found = plan.of(run, self.stages, name)
        found.check()
        pools.report_changes(run)
        # First the mark of a run: a folder without it is somebody else's.
        run.record()
        if found.reuse():
            # A student that was reused may have learned its loss weights.
            run.record()
        pools.keep(run)

    def _make_stage(self, stage: Stage, run: Run, name: str) -> None:
        """Make a stage, the further runs that it declares, and hidden stages that it needs.

        Args:
            stage: the stage.
            run: its run.
            name: what was asked for: a stage, or "all".
        """
        self._on_chief(self._make_hidden, stage, run, self.only)
        self._on_chief(self._plan_again, stage, run, name)
        further = stage.further(run)
        while inner := self._next(further):
            # Workers on Ray read the pools' lists in the folder that they write to.
            self._on_chief(pools.keep, inner.run)
            for one in inner.stages:
                self._on_chief(self._make_hidden, one, inner.run, ())
                self._make_artifacts(one, inner.run, ())
        self._make_artifacts(stage, run, self.only)

    def _next(self, further: Iterator[Further]) -> Further | None:
        with self._devices.scope():
            return next(further, None)

    def _make_hidden(self, stage: Stage, run: Run, only: Sequence[str]) -> None:
        """Make the hidden stages that a stage needs: of the groups that it makes, or all."""
        chosen = _selected(stage, run, only)
        needed = {need.stage for artifact in chosen for need in artifact.needs}
        groups = [artifact.group for artifact in chosen]
        for hidden in self.stages:
            if not hidden.is_shown and hidden.name in needed:
                self._make_alone(hidden, run, groups)

    def _plan_again(self, stage: Stage, run: Run, name: str) -> None:
        """Plan with what earlier and hidden stages found: inputs that were not known before.

        Raises:
            UserError: what is complete is not what the recipe asks for.
        """
        if not any(artifact.needs for artifact in stage.artifacts(run)):
            return
        found = plan.of(run, self.stages, name, growth_stops=False)
        found.check()
        if found.reuse():
            run.record()

    def _make_artifacts(self, stage: Stage, run: Run, only: Sequence[str]) -> None:
        if not stage.by_all_workers:
            self._on_chief(self._make_alone, stage, run, only)
            return
        found: dict[Artifact, bool] = {}

        def look() -> None:
            found.update((one, _is_complete(one)) for one in _selected(stage, run, only))

        # The others stop with the chief's error here; within the scope they would wait for it.
        self._on_chief(look)
        artifacts = list(found) or _selected(stage, run, only)
        with self._devices.scope():
            answers = [broadcast_from_chief(lambda one=one: found[one]) for one in artifacts]
            self._make_pending(stage, run, artifacts, answers)
            wait_for_all()

    def _make_alone(self, stage: Stage, run: Run, only: Sequence[str]) -> None:
        artifacts = _selected(stage, run, only)
        self._make_pending(stage, run, artifacts, [_is_complete(one) for one in artifacts])

    def _make_pending(
        self, stage: Stage, run: Run, artifacts: Sequence[Artifact], is_complete: Sequence[bool]
    ) -> None:
        """Make the artifacts of a stage that are not complete."""
        complete = list(itertools.compress(artifacts, is_complete))
        pending = [one for one, done in zip(artifacts, is_complete, strict=True) if not done]
        if complete and stage.is_shown and is_chief():
            LOG.info(f"{stage.name}: {_names(complete)} complete (skipped)")
        for artifact in complete:
            stage.revisit(run, artifact)
        if pending:
            stage.make(run, pending)
        if is_chief():
            stage.conclude(run, self.stages)

    def _on_chief(self, work: Callable[..., None], *arguments: Any) -> None:
        """Let the chief work, and the others wait for it."""
        with self._devices.scope():
            chief = is_chief()
        with on_chief(self._devices):
            if chief:
                work(*arguments)


def _selected(stage: Stage, run: Run, only: Sequence[str]) -> list[Artifact]:
    """Return the artifacts of a stage that `only` selects; all, where it names none of them."""
    artifacts = list(stage.artifacts(run))
    return [artifact for artifact in artifacts if artifact.group in only] or artifacts


def _is_complete(artifact: Artifact) -> bool:
    """Return whether an artifact is complete; if need be, reuse another run's."""
    for need in artifact.needs:
        if need.stage != artifact.stage and not need.is_there:
            first = argument("stage", need.stage)
            raise UserError.at(need.folder, f"is not complete: run {first} first")
    return artifact.is_complete()


def _groups(run: Run, stages: Sequence[Stage]) -> list[str]:
    """Return the names by which `only` selects artifacts of some stages."""
    wanted = (stage for stage in stages if stage.is_wanted(run))
    groups = (artifact.group for stage in wanted for artifact in stage.artifacts(run))
    return [group for group in dict.fromkeys(groups) if group]


def _names(artifacts: Sequence[Artifact]) -> str:
    names = [artifact.name for artifact in artifacts if artifact.name]
    verb = "is" if len(artifacts) == 1 else "are"
    return f"{listed(names, limit=_MAX_NAMES) or 'it'} {verb}"
