"""The student: what it trains on, how, and with which weights of the heads' losses."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from numbers import Real
from typing import Any, Self

from must_keras.config.teachers import Teacher
from must_keras.data.ground_truth_share import check_share
from must_keras.data.repeat_factors import RepeatFactors
from must_keras.data.sources import Source, pool_name
from must_keras.data.strong_views import StrongViews
from must_keras.errors import UserError, expect, expect_each, not_allowed
from must_keras.training.config import TrainingConfig
from must_keras.training.initialization import FromScratch, FromTeacher, Start
from must_keras.training.loss_weights import ScalingRule, Weighting
from must_keras.training.network import Network
from must_keras.training.self_labeled import SelfLabeled, check_training


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labeler:
    """A student with a network of its own, which labels for the next student.

    Attributes:
        network: backbone, size and pyramid.
        start: initialization of its weights.

    Raises:
        UserError: a value is of another type.

    Example:
        large = mk.Network(backbone=mk.ResNet.of_depth(101), size=512)
        labelers = (mk.Labeler(network=large),)
        mk.Recipe(..., labelers=labelers, rounds=2, starts=("random", "rounds"))

    Reference: a large student of all teachers that labels for small ones is an idea of EUPE (arXiv
    2603.22387); students that grow from round to round are Noisy Student's (arXiv 1911.04252).
    """

    network: Network
    start: Start | FromTeacher = dataclasses.field(default_factory=FromScratch)

    def __post_init__(self) -> None:
        expect("a labeler", self, network=Network, start=Start | FromTeacher)


def check_start(start: Start | FromTeacher, teachers: Sequence[Teacher], *, rounds: int) -> None:
    """Raise UserError where a student cannot start from the teacher that it names.

    Args:
        start: of the student.
        teachers: those that the run trains.
        rounds: number of students.
    """
    if start.teacher is None:
        return
    fitting = [teacher.name for teacher in teachers if teacher.network is None]
    where = "the student: start=FromTeacher"
    if start.teacher not in fitting:
        what = f"{where}({start.teacher!r}) needs a teacher that is trained with the same network"
        raise not_allowed(what, start.teacher, fitting, key="start")
    if rounds > 1:
        problem = "with a teacher of the run as the start there is one round; remove one of them"
        raise UserError.of(f"{where}({start.teacher!r})", "rounds", rounds, problem)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Student:
    """One network with a head for every teacher's task.

    Attributes:
        training: its training config.
        union: whether it also trains on the teachers' training sets, with their ground truth.
        start: initialization of its weights; FromTeacher(...) is the backbone of a teacher of the
            run, which has no network of its own and no further rounds then.
        weighting: weights of the heads' losses: ScalingRule(), Uniform() or Uncertainty().
        repeats: {source: how many times each of its images comes in an epoch}; once, where it is
            not named, so that all images are equally likely.
        repeat_factors: images with rare classes come more often in an epoch: see RepeatFactors.
        strong_views: changes of the images without ground truth, for the student alone.
        ground_truth_share: share of a batch's images that have ground truth of a head, [0.001,
            0.999] (see data.ground_truth_share); None: all images are equally likely.
        equal_sources: whether each source has an equal share of every batch, whatever its number of
            images (see data.equal_sources); False: all images are equally likely.
        self_labeled: further tasks, whose labels are computed in the step; their heads take part in
            the training alone.
        drop_heads: probability, [0, 1), with which a head of an image is left out of the loss of a
            step (see training.head_dropping).

    Raises:
        UserError: a value is of another type or range.

    Example:
        mk.Student(training=training, weighting=mk.Uniform())

    """

    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    union: bool = True
    start: Start | FromTeacher = dataclasses.field(default_factory=FromScratch)
    weighting: Weighting = dataclasses.field(default_factory=ScalingRule)
    repeats: Mapping[str, int] = dataclasses.field(default_factory=dict)
    repeat_factors: RepeatFactors | None = None
    strong_views: StrongViews | None = None
    ground_truth_share: float | None = None
    equal_sources: bool = False
    self_labeled: tuple[SelfLabeled, ...] = ()
    drop_heads: float = 0.0

    def __post_init__(self) -> None:
        where = "the student"
        expect(where, self, training=TrainingConfig, weighting=Weighting)
        expect(where, self, start=Start | FromTeacher, equal_sources=bool)
        expect(where, self, repeats=Mapping, strong_views=StrongViews | None, drop_heads=Real)
        expect(where, self, repeat_factors=RepeatFactors | None)
        expect_each(where, self, self_labeled=SelfLabeled)
        check_training(where, self.training, self.self_labeled)
        check_share(where, self.ground_truth_share)
        if not 0.0 <= self.drop_heads < 1.0:
            raise UserError.of(where, "drop_heads", self.drop_heads, "expected a number in [0, 1)")
        for name, times in self.repeats.items():
            if not isinstance(times, int) or times < 1:
                problem = "expected a whole number of times, at least 1"
                raise UserError.of(where, f"repeats[{name!r}]", times, problem)

        for name in ("ground_truth_share", "repeats") if self.equal_sources else ():
            value = getattr(self, name)
            if value:
                problem = "equal_sources=True gives each source an equal share; remove one of them"
                raise UserError.of(where, name, value, problem)

    def check_sources(self, names: Collection[str]) -> None:
        """Raise UserError where sources are to have equal shares, and there is one alone."""
        if self.equal_sources and len(names) < 2:
            problem = f"there is one source, {', '.join(names)}; remove it"
            raise UserError.of("the student", "equal_sources", True, problem)

    def check_dropping(self, num_teachers: int) -> None:
        """Raise UserError where heads are to be dropped, and there is one alone, which is kept."""
        if self.drop_heads and num_teachers + len(self.self_labeled) < 2:
            problem = "there is one head, which is always kept; remove it"
            raise UserError.of("the student", "drop_heads", self.drop_heads, problem)

    def times(self, source: Source) -> int:
        """Return how many times each image of a source comes in an epoch."""
        return self.repeats.get(pool_name(source), 1)

    @property
    def shares(self) -> dict[str, Any]:
        """Which images share a batch: keyword arguments of InputPipeline and count_origins."""
        names = ("ground_truth_share", "equal_sources")
        return {name: getattr(self, name) for name in names}

    def on_ground_truth(self, training: TrainingConfig) -> Self:
        """Return how a network that learns from ground truth alone is trained to compare with it.

        It has the student's initialization and weighting, and none of the other options: those of
        pseudo labels have no meaning there, and the rest is the student's alone.

        Args:
            training: its training config.
        """
        return type(self)(training=training, start=self.start, weighting=self.weighting)

    def options(self) -> dict[str, Any]:
        """Return the options that are in use: what its weights depend on beside the others."""
        found = {
            "repeats": self.repeats,
            "repeat_factors": self.repeat_factors,
            "self_labeled": [head.without_weight() for head in self.self_labeled],
            "drop_heads": self.drop_heads,
            "strong_views": self.strong_views,
            "ground_truth_share": self.ground_truth_share,
            "equal_sources": self.equal_sources,
        }
        return {name: value for name, value in found.items() if value}
