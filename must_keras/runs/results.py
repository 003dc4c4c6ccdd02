"""The results of artifacts, as finished.json holds them."""

import dataclasses
from typing import Any

Metrics = dict[str, float | None]
Counts = dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What came out of an artifact; an optional field is written where it has a value.

    Example:
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Counted(Result):
        ...     images: int
        ...     skipped: int | None = None
        >>> Counted(images=3).describe()
        {'images': 3}
    """

    def describe(self) -> dict[str, Any]:
        """Return its fields without optional ones that have no value."""
        values = ((field, getattr(self, field.name)) for field in dataclasses.fields(self))
        return {field.name: value for field, value in values if value != field.default}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored(Result):
    """Metrics of a head on test images, and those of the trivial baseline.

    Example:
        Scored(metrics={"top1": 0.53}, trivial={"top1": 0.16})
    """

    metrics: Metrics
    trivial: Metrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reliability(Result):
    """Numbers of scored predictions, and of correct ones, in ten bins of the score.

    Example:
        Reliability(answers=[0] * 9 + [40], right=[0] * 9 + [38])
    """

    answers: list[int]
    right: list[int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept(Result):
    """The weights that a training with `keep_best` kept: of `step` of `trained` steps.

    Example:
        Kept(step=400, metric="top1", value=0.53, trained=600, stopped="no better in 2 evaluations")
    """

    step: int
    metric: str
    value: float
    trained: int
    stopped: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherResult(Result):
    """The result of a teacher; what only a training has is None for others.

    Attributes:
        steps, kept: of its training, where the recipe gives epochs, or `keep_best`.

    Example:
        run.teacher("shapes").result().metrics["top1"]
    """

    task: str
    kind: str
    metrics: Metrics
    trivial: Metrics
    reliability: Reliability | None
    class_counts: Counts | None
    counted: int
    untaught: list[str]
    parameters: int | None
    images_seen: int | None
    model_sha256: str | None
    steps: int | None = None
    kept: Kept | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origins(Result):
    """Numbers of sampled images whose label is ground truth, a pseudo label, or missing.

    Example:
        Origins(true=0, pseudo=940, missing=60)
    """

    true: int
    pseudo: int
    missing: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentResult(Result):
    """The result of the student, and of the supervised baseline.

    Attributes:
        tasks: {head: its scores}.
        origins: {source: {head: origins of its labels}}.
        untaught: {head: its outputs that no label taught}.
        steps, kept: of its training, where the recipe gives epochs, or `keep_best`.
        self_labeled: {self-labeled head: its scores}, where there are such heads with metrics.

    Raises:
        ValueError: a part has no value of a head that another part has.

    Example:
        run.student.result().tasks["shapes"].metrics["top1"]
    """

    loss_weights: Metrics
    loss_weight_sources: dict[str, str]
    parameters: int
    images_seen: int
    model_sha256: str
    tasks: dict[str, Scored]
    origins: dict[str, dict[str, Origins]]
    untaught: dict[str, list[str]]
    steps: int | None = None
    self_labeled: dict[str, Scored] | None = None
    kept: Kept | None = None

    def __post_init__(self) -> None:
        parts = {name: getattr(self, name) for name in ("tasks", "loss_weights")}
        parts["loss_weight_sources"] = self.loss_weight_sources
        parts |= {f"origins.{source}": heads for source, heads in self.origins.items()}
        for name, of_heads in parts.items():
            for head in sorted(set().union(*parts.values()) - of_heads.keys()):
                raise ValueError(f"its result.{name} has no {head!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundScores(Result):
    """The scores of one self-training round's student.

    Attributes:
        parameters: of the student, where students have different networks.

    Example:
        run.rounds.result().rounds[0].mean
    """

    round: int
    validation: Counts
    mean: float | None
    test: dict[str, Metrics]
    parameters: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundsResult(StudentResult):
    """The result of the best student of all rounds, why they stopped, and the scores of each.

    Example:
        run.rounds.result().stopped  # "all 3 rounds are made"
    """

    rounds: list[RoundScores]
    best: int
    stopped: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfSupervisedResult(Result):
    """The result of a self-supervised method.

    Attributes:
        steps: of its training, where the recipe gives epochs.
        self_labeled: {self-labeled head: its scores}, of a method with such heads.

    Example:
        run.self_supervised("simclr").result().metrics["accuracy"]
    """

    method: str
    metrics: Metrics
    parameters: int
    images: int
    images_seen: int
    model_sha256: str
    steps: int | None = None
    self_labeled: dict[str, Scored] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelsResult(Result):
    """The result of a pseudo-label dataset; class_counts are those of `counted` images.

    Example:
        run.labels("shapes", "pool").result().labelled
    """

    teacher_sha256: str
    images: int
    labelled: int
    bytes: int
    images_per_second: float | None
    untaught: list[str] | None = None
    threshold: Any
    ignore_from: float | None = None
    counted: int
    class_counts: Counts | None
    quality: Metrics | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeakageResult(Result):
    """The result of a comparison with the test splits; by_set is {transfer: images}.

    Example:
        LeakageResult(images=2000, unreadable=0, left_out=3, by_set={"dev_boxes": 3})
    """

    images: int
    unreadable: int
    left_out: int
    by_set: dict[str, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibrationResult(Result):
    """The distances of a teacher's validation images; sha256 is that of their file.

    Example:
        run.calibration("nuclei").result().shrinkage
    """

    images: int
    training_images: int
    shrinkage: float
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistancesResult(Result):
    """The distances of a source's images from a teacher's; sha256 is that of their file.

    Example:
        DistancesResult(images=2000, unreadable=0, sha256=digest)
    """

    images: int
    unreadable: int
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tried(Result):
    """One learning rate of a sweep.

    Example:
        Tried(learning_rate=1e-3, metric="top1", value=0.4, metrics={"top1": 0.4}, error=None)
    """

    learning_rate: float
    metric: str | None
    value: float | None
    metrics: Metrics
    error: str | None
    chosen: bool | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpisodesResult(Result):
    """What the mean over episodes stands for.

    Attributes:
        count: number of episodes.
        ways: classes of each.
        queries: scored images of each class.
        learner: what learned in each.
        low: the lower end of the mean's 95 % interval over episodes, which is none over trainings.
        high: the upper end.

    Example:
        EpisodesResult(count=600, ways=5, queries=15, learner="linear", low=0.42, high=0.44)
    """

    count: int
    ways: int
    queries: int
    learner: str
    low: float
    high: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferResult(Result):
    """The result of a transfer run; the value is that of the first metric.

    Raises:
        ValueError: it is of a sweep, without the number of images that decided it.

    Example:
        run.transfer("dev_boxes", "student", "full-fpn-all", 0).result().value
    """

    set: str
    task: str
    start: str
    seed: int
    images: int
    steps: int
    learning_rate: float
    metric: str
    value: float | None
    metrics: Metrics
    trivial: float | None
    aligned: str
    mode: str
    neck: str
    copied: list[str]
    shots: int | None
    split: str
    git_commit: str | None
    sweep: list[Tried] | None = None
    validation_images: int | None = None
    episodes: EpisodesResult | None = None
    samples: int | None = None

    def __post_init__(self) -> None:
        if self.sweep and self.validation_images is None:
            raise ValueError("its result has no 'validation_images'")


def size_name(shots: int | None, samples: int | None) -> str:
    """Return how many images a transfer run may see, as its folder's name ends.

    Example:
        >>> size_name(5, None), size_name(None, 100), size_name(None, None)
        ('5', '100samples', 'all')
    """
    if samples is not None:
        return f"{samples}samples"
    return "all" if shots is None else str(shots)
