"""Make a run from Python: the same work as the command line's, without its flags and exits."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from absl import logging

from must_keras import experiment, interruption, naming, stages
from must_keras.api.opened import Run, open_run
from must_keras.arguments import as_text
from must_keras.command import quiet_import
from must_keras.errors import UserError, not_allowed

if TYPE_CHECKING:
    from must_keras.config.recipe import Recipe
    from must_keras.pseudo_labels.exporting import Exported
    from must_keras.pseudo_labels.importing import Imported
    from must_keras.runs.run import Run as LabeledRun

_STAGES = ("all", *stages.NAMES)
_T = TypeVar("_T")


def run(
    recipe: "str | os.PathLike[str] | Recipe",
    workdir: str | os.PathLike[str] | None = None,
    *,
    stage: str = "all",
    only: Sequence[str] = (),
    reuse: str | os.PathLike[str] | None = None,
    strategy: str = "auto",
    **arguments: Any,
) -> Run:
    """Make what is not complete of a run, and return it; the same call resumes an interrupted one.

    Args:
        recipe: a name in experiments/, the path of a recipe's file, or a Recipe.
        workdir: the run's folder; default is runs/<recipe>, and with arguments
            runs/<recipe>-<8 hexadecimal digits>, as on the command line.
        stage: "all", or one of "teacher", "label", "student", ...
        only: names of the teachers, self-supervised methods or transfers to make; empty: all.
        reuse: the folder of another run, whose complete and equal artifacts are reused.
        strategy: "auto", "one", "mirrored" or "tpu". Several machines train together on the
            command line only.
        arguments: of the recipe's function, as Python values; `data_dir`, where TFDS keeps its
            data sets, among them.

    Raises:
        UserError: a mistake in the call, in the recipe or in its data's folders.
        DataError: data that failed a check.
        Interrupted: SIGTERM was received; complete work and the current step are saved.

    Example:
        run = mk.run("scenes", seed=1, starts=("random", "student"))
        run.student.metrics["objects"]["box_ap50"]
    """
    if stage not in _STAGES:
        raise not_allowed(f"stage={stage}", stage, _STAGES, key="stage")
    only = (only,) if isinstance(only, str) else tuple(only)
    named = _named(recipe, arguments)
    folder = named.workdir() if workdir is None else pathlib.Path(workdir)
    with quiet_import():
        from must_keras.runs.executor import Executor
        from must_keras.training.strategy import connects_machines

        all_stages = stages.load()
    if connects_machines(strategy):
        problem = (
            "several machines train together on the command line only: start `must-keras run` "
            "with this strategy on each of them"
        )
        raise UserError.of("", "strategy", strategy, problem)
    executor = Executor(
        all_stages,
        load=named.load,
        workdir=folder,
        only=only,
        reuse=None if reuse is None else pathlib.Path(reuse),
        strategy=strategy,
        experiment=named.text(),
    )
    with interruption.listening(), _hidden_notices():
        executor.make(stage)
    return open_run(folder)


def export_labels(
    recipe: "str | os.PathLike[str] | Recipe",
    workdir: str | os.PathLike[str] | None = None,
    *,
    to: str | os.PathLike[str],
    format: str,
    threshold: float | tuple[float, ...] | None = None,
    teacher: str | None = None,
    pool: str | None = None,
    least_certain: int | None = None,
    with_images: bool = True,
    **arguments: Any,
) -> "Exported":
    """Write the pseudo labels of a run for another tool; nothing of the run is changed.

    Args:
        recipe: as of `run`.
        workdir: the run's folder; see `run`.
        to: a new folder: images/ with copies of the images, the files of the format, and
            certainty.csv, the least certain image first.
        format: "coco" (JSON with scores, masks as run lengths), "yolo" (text), "maps" (PNG, depth
            in 16 bits), "label-studio" (pre-annotations) or "csv" (one class an image).
        threshold: of the scores, one or one for each class; None: that of the recipe.
        teacher: whose labels; None: the only one whose labels the format takes.
        pool: of which pool or other source; None: the only pool.
        least_certain: how many images, the least certain without ground truth; None: all.
        with_images: whether images are copied.
        arguments: as of `run`.

    Raises:
        UserError: a mistake in the call, or labels that are not complete.

    Example:
        mk.export_labels("garden.py", to="doubtful", format="label-studio", least_certain=50)
    """
    with quiet_import():
        from must_keras.pseudo_labels.exporting import export

    options = {"format": format, "threshold": threshold, "teacher": teacher, "pool": pool}
    options |= {"least_certain": least_certain, "with_images": with_images}
    return _read(recipe, workdir, arguments, lambda run: export(run, pathlib.Path(to), **options))


def import_labels(
    recipe: "str | os.PathLike[str] | Recipe",
    corrected: str | os.PathLike[str],
    workdir: str | os.PathLike[str] | None = None,
    *,
    to: str | os.PathLike[str],
    format: str,
    teacher: str | None = None,
    pool: str | None = None,
    images: str | os.PathLike[str] | None = None,
    **arguments: Any,
) -> "Imported":
    """Take labels that people corrected as ground truth of a pool's images.

    Nothing of the run is changed: the result is a source, which a recipe joins with the pool.

    Args:
        recipe: as of `run`.
        corrected: Label Studio's export as JSON, COCO's JSON (CVAT), or YOLO's data.yaml.
        workdir: the run's folder; see `run`.
        to: a new folder.
        format: "label-studio", "coco" or "yolo".
        teacher: of the head that was corrected; None: the only one with such labels.
        pool: the pool; None: the only one.
        images: the folder that the file's names of images are relative to; None: the pool's.
        arguments: as of `run`.

    Raises:
        UserError: a mistake in the call, or a file that is of other images or classes.

    Example:
        found = mk.import_labels("garden.py", "export.json", to="round1", format="label-studio")
        found.source  # "mk.CocoJson(name='round1', ...)"
    """
    with quiet_import():
        from must_keras.pseudo_labels.importing import import_corrected

    folder = None if images is None else pathlib.Path(images)
    options = {"format": format, "teacher": teacher, "pool": pool, "images": folder}
    return _read(
        recipe,
        workdir,
        arguments,
        lambda run: import_corrected(run, pathlib.Path(corrected), to=pathlib.Path(to), **options),
    )


def _read(
    recipe: Any,
    workdir: str | os.PathLike[str] | None,
    arguments: dict[str, Any],
    view: "Callable[[LabeledRun], _T]",
) -> _T:
    """Return what a view of a run returns; nothing of the run is made or changed."""
    named = _named(recipe, arguments)
    folder = named.workdir() if workdir is None else pathlib.Path(workdir)
    with quiet_import():
        from must_keras.runs.executor import Executor

        all_stages = stages.load()
    executor = Executor(all_stages, load=named.load, workdir=folder, experiment=named.text())
    found: list[_T] = []
    with interruption.listening(), _hidden_notices():
        executor.read(lambda run, _: found.append(view(run)), name="label")
    return found[0]


@contextlib.contextmanager
def _hidden_notices() -> Iterator[None]:
    """Hide absl's warnings, which TFDS gives for every data set, unless the level was changed."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR if before == logging.WARNING else before)
    try:
        yield
    finally:
        logging.set_verbosity(before)


@dataclasses.dataclass(frozen=True)
class _RecipeFile:
    """A recipe that is named by its file, and the values of its arguments."""

    name: str
    values: dict[str, Any]
    data_dir: str | None

    def load(self) -> "Recipe":
        return experiment.load_with(self.name, self.values, data_dir=self.data_dir)

    def workdir(self) -> pathlib.Path:
        return experiment.default_workdir(self.name, as_text(self.values))

    def text(self) -> str | None:
        """Return the recipe as run.json names it; None where a value cannot be written."""
        try:
            return experiment.whole(self.name, as_text(self.values))
        except UserError:
            return None


@dataclasses.dataclass(frozen=True)
class _RecipeObject:
    """A recipe that is given as an object."""

    recipe: "Recipe"

    def load(self) -> "Recipe":
        return self.recipe

    def workdir(self) -> pathlib.Path:
        naming.check_name(self.recipe.name, "no workdir is given, and the recipe's name")
        return pathlib.Path("runs") / self.recipe.name

    def text(self) -> None:
        return None


def _named(recipe: Any, arguments: dict[str, Any]) -> _RecipeFile | _RecipeObject:
    """Return what a caller named as a recipe.

    Raises:
        UserError: it is none, there is no such recipe, or a Recipe was given arguments.
    """
    if isinstance(recipe, str | os.PathLike):
        name, data_dir = os.fspath(recipe), arguments.get("data_dir")
        experiment.find(name)
        values = {key: value for key, value in arguments.items() if key != "data_dir"}
        return _RecipeFile(name, values, None if data_dir is None else os.fspath(data_dir))
    with quiet_import():
        from must_keras.config.recipe import Recipe

    if not isinstance(recipe, Recipe):
        problem = "expected a name in experiments/, the path of a recipe's file, or a Recipe"
        raise UserError.of("", "recipe", recipe, problem)
    for key, value in arguments.items():
        problem = "a Recipe takes no arguments: change the Recipe itself, or give a name or a path"
        raise UserError.of("", key, value, problem)
    return _RecipeObject(recipe)
