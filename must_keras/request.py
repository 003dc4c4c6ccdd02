"""What a command line asks of a run, whichever program it is of."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from must_keras import command, experiment, stages
from must_keras.errors import UserError, nearest, not_allowed
from must_keras.exports import ExportFormat
from must_keras.json_files import read_json
from must_keras.runs.marks import RUN

if TYPE_CHECKING:
    from must_keras.config.recipe import Recipe
    from must_keras.runs.executor import Executor


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Recorded:
    """What run.json says of where its recipe is from."""

    experiment: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """A recipe, a directory, and how its stages are to be made.

    Attributes:
        experiment: a recipe in experiments/ or the path of one, with arguments: "scenes:seed=1".
        workdir: the run's folder; None: see experiment.default_workdir.
        only: names of artifacts to make or view; empty: all.
        reuse: the folder of another run whose complete artifacts may be reused.
        strategy: see training.strategy.make_strategy.
        label_engine: where labels are made: "local", "ray" or "ray:workers=4".
        data_dir: where TFDS keeps its data sets; None: TFDS's own default.
        exports: formats to which the student is exported beside those of the recipe.

    Example:
        Request(experiment="scenes:seed=1").make("teacher")
    """

    experiment: str = "scenes"
    workdir: pathlib.Path | None = None
    only: tuple[str, ...] = ()
    reuse: pathlib.Path | None = None
    strategy: str = "auto"
    label_engine: str = "local"
    data_dir: str | None = None
    exports: tuple[ExportFormat, ...] = ()

    @classmethod
    def of(cls, text: str, *, trusted: bool = False, **options: Any) -> Self:
        """Return the request for a recipe, or for the run whose folder is named instead.

        A recipe is a program, and a folder may be somebody else's: a recipe's file that run.json
        names runs only where it is trusted. Those of must_keras itself always do.

        Args:
            text: see `experiment`, or a folder.
            trusted: whether the file that a folder names may run.
            options: further attributes.

        Raises:
            UserError: the folder is that of no run, of one whose recipe is no file, or of one whose
                recipe is not trusted.
        """
        folder = pathlib.Path(text)
        if not folder.is_dir():
            return cls(experiment=text, **options)
        path = folder / RUN
        if not path.is_file():
            raise UserError.at(folder, f"is no folder of a run: it has no {RUN}")
        recorded = read_json(path, _Recorded, remedy="give the recipe and `workdir`").experiment
        if recorded is None:
            raise UserError.at(path, "does not name its recipe; give the recipe and `workdir`")
        file = experiment.parse(recorded)[0]
        if file.endswith(".py") and not trusted:
            problem = (
                f"names the recipe {file}, a program that runs with your rights. If the run is "
                "yours, set trusted=True; or give the recipe and `workdir`"
            )
            raise UserError.at(path, problem, key="trusted", value=trusted)
        return cls(experiment=recorded, **options | {"workdir": folder})

    def make(self, stage: str = "all") -> None:
        """Make what is not complete of a stage, or of all."""
        allowed = ("all", *stages.NAMES)
        if stage not in allowed:
            raise not_allowed(f"stage={stage}", stage, allowed, key="stage")
        self._executor(makes=True).make(stage)

    def status(self) -> None:
        """Print what is complete, and what `make` would do."""
        executor = self._executor()
        from must_keras.stages.status import status

        options = {"workdir": self.workdir, "reuse": self.reuse, "data_dir": self.data_dir}
        line = command.run_line(self.experiment, options)
        executor.read(functools.partial(status, command=line), new=True, others=True)

    def check(self, *, as_json: bool = False) -> None:
        """Print how many of the student's examples have true, pseudo and missing labels."""
        executor = self._executor()
        from must_keras.stages.check import check, print_table

        show = (lambda counts: print(json.dumps(counts, indent=2))) if as_json else print_table
        executor.read(lambda run, _: show(check(run)))

    def verify(self) -> None:
        """Read the pseudo-label datasets back, and compare them with their ledgers."""
        executor, checks = self._executor(), _checks()
        executor.read(lambda run, _: checks.verify(run, self.only), name="label")

    def plan(self) -> None:
        """Print the cost of labeling."""
        executor, checks = self._executor(), _checks()
        executor.read(lambda run, _: checks.print_plan(run, self.only), name="label", new=True)

    def diff(self, other: pathlib.Path) -> None:
        """Print how the pseudo labels differ from another run's labels/<teacher>/<source>."""
        executor, checks = self._executor(), _checks()
        executor.read(lambda run, _: checks.compare(run, other), name="label")

    def export(self, to: pathlib.Path, **options: Any) -> None:
        """Write pseudo labels for another tool; see pseudo_labels.exporting.export."""
        executor = self._executor()
        from must_keras.pseudo_labels.exporting import export

        executor.read(lambda run, _: print(export(run, to, **options)), name="label")

    def import_corrected(self, corrected: pathlib.Path, **options: Any) -> None:
        """Take labels that people corrected; see pseudo_labels.importing.import_corrected."""
        executor = self._executor()
        from must_keras.pseudo_labels.importing import import_corrected

        executor.read(
            lambda run, _: print(import_corrected(run, corrected, **options)), name="label"
        )

    def _executor(self, *, makes: bool = False) -> "Executor":
        name, arguments = experiment.parse(self.experiment)
        experiment.find(name)
        with command.quiet_import():
            # TensorFlow is imported from here on.
            from must_keras.runs.executor import Executor

            all_stages = stages.load()
        load = functools.partial(experiment.load, name, arguments, data_dir=self.data_dir)
        if self.exports:
            load = functools.partial(_with_exports, load, self.exports)
        return Executor(
            all_stages,
            load=load,
            workdir=self.workdir or experiment.default_workdir(name, arguments),
            only=self.only,
            strategy=self.strategy,
            reuse=self.reuse,
            make_labeler=_labeler(self.label_engine, load, is_needed=makes),
            experiment=experiment.whole(name, arguments),
        )


def _with_exports(load: Callable[[], "Recipe"], exports: tuple[ExportFormat, ...]) -> "Recipe":
    """Return a recipe with further formats; one of a name that it has replaces it."""
    recipe = load()
    named = {one.name: one for one in (*recipe.exports, *exports)}
    return dataclasses.replace(recipe, exports=tuple(named.values()))


def _checks() -> Any:
    """Return the module of checks, which imports TensorFlow."""
    from must_keras.pseudo_labels import checks

    return checks


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
