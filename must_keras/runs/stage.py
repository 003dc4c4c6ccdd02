"""The protocol of a stage: one file in stages/ that declares artifacts and makes them."""

import abc
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

from must_keras.runs.artifact import Artifact
from must_keras.runs.run import Run


class Further(NamedTuple):
    """A run within a run, and the stages to make there.

    Example:
        Further(run.round(2, recipe), (teacher.STAGE, label.STAGE, student.STAGE))
    """

    run: Run
    stages: tuple["Stage", ...]


class Stage(abc.ABC):
    """One step of the method: what a run has of it, what that needs, and how it is made.

    The executor derives everything else: order and resumption, reuse from other runs, status, what
    the processes of a strategy do, seconds, and the values of report.json.

    Attributes:
        name: what `stage` names, and the key of its seconds.
        folder: the folder of a run in which its artifacts are; "" for one of its name.
        by_all_workers: whether all processes of a strategy make its artifacts together; otherwise
            the chief does, and the others wait.
        reads_pools: whether it labels the pools or trains on them, so that a pool that has grown
            behind complete networks stops it.
        is_shown: whether `stage` can name it; otherwise it is made for the stages that need it.

    Example:
        >>> class Histogram(Stage):
        ...     name = "histogram"
        ...
        ...     def artifacts(self, run):
        ...         yield run.artifact("histogram").declare(
        ...             stage=self.name,
        ...             find_inputs=lambda: {"sources": run.recipe.student_sources},
        ...         )
        ...
        ...     def make(self, run, pending):
        ...         for artifact in pending:
        ...             artifact.begin()
        ...             artifact.finish({"images": sum(map(len, run.recipe.student_sources))})
    """

    name: ClassVar[str]
    folder: ClassVar[str] = ""
    by_all_workers: ClassVar[bool] = False
    reads_pools: ClassVar[bool] = False
    is_shown: ClassVar[bool] = True

    @abc.abstractmethod
    def artifacts(self, run: Run) -> Iterable[Artifact]:
        """Return the declared artifacts that a run has of this stage, in order.

        Nothing is read but what other artifacts have found; `find_inputs` is called later, when
        the stages before may have made more.
        """

    @abc.abstractmethod
    def make(self, run: Run, pending: Sequence[Artifact]) -> None:
        """Make the artifacts that are not complete; each ends with `finish`.

        Files under names of a stage's own belong into the folder files/ of an artifact: others are
        taken for a person's, and an artifact that contains these is not made again.

        Raises:
            UserError: it cannot be made from what is there.
        """

    def is_wanted(self, run: Run) -> bool:
        """Return whether `stage="all"` includes it: where the recipe has a use for it."""
        return True

    def further(self, run: Run) -> Iterator[Further]:
        """Return runs within this one, to be made before its own artifacts.

        The next one is asked for when the last is complete.
        """
        return iter(())

    def revisit(self, run: Run, artifact: Artifact) -> None:  # noqa: B027
        """Add to a complete artifact what the recipe asks for and its inputs do not cover."""

    def conclude(self, run: Run, stages: Sequence["Stage"]) -> None:  # noqa: B027
        """Write what the stage shows of all of its artifacts, when these are complete.

        Args:
            run: the run.
            stages: all of them, in order.
        """

    def report(self, run: Run) -> dict[str, Any]:
        """Return the values of report.json that this stage has found."""
        return {}
