"""Heads of a student that learned little, and the likely causes in the data of their run.

A cause is a guess: each is a rule of thumb over numbers that the run has, and names these numbers.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

from must_keras.tasks.evaluation import find_metric

Kind = Literal["not_above_trivial", "far_below_teacher"]

# Gains over the trivial baseline, of what a perfect score would gain: a smaller one of the student
# is none, and a teacher with a smaller one teaches little itself.
_NO_GAIN, _WEAK_TEACHER = 0.01, 0.05
# A student's head that keeps less of what its teacher gains over the trivial baseline is far below.
_KEPT_GAIN = 0.5
# Fewer labeled images, or a smaller share of all, are few.
_FEW_IMAGES, _LOW_SHARE = 200, 0.25
# Pseudo labels of another domain: so many times fewer or more per image than in the teacher's own
# set, classes whose frequencies differ by so much in total variation (0: the same, 1: none in
# common), a score on the pool that keeps less of the score on the teacher's own set.
_OTHER_AMOUNT, _OTHER_CLASSES, _KEPT_QUALITY = 3.0, 0.4, 0.6
# A share of images without any object that is so much above the teacher's own set's.
_MORE_EMPTY = 0.5
# A share of the gradient of the backbone below which other heads decide what is learned.
_LOW_GRADIENT = 0.05
# A student that saw fewer labeled images of the head than this share of its teacher's.
_SHORT_TRAINING = 0.5


class Cause(NamedTuple):
    """A likely cause, with the numbers that it is concluded from, and what to try.

    Example:
        Cause(name="few_labels", text="its teacher has 60 training images", advice="label more")
    """

    name: str
    text: str
    advice: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """Numbers of a run that bear on one head; None where the run does not have one.

    Attributes:
        head: its name.
        metric: the name of its first metric.
        student: its value of that metric on test.
        teacher: the same of its teacher.
        trivial: the same of the trivial baseline.
        has_objects: whether its labels are objects.
        training_images: number of the teacher's training images.
        labeled_share: share of the student's images that have a label of the head.
        true_frequencies: {class: objects, images or shares of the pixels} an image in the
            teacher's own set.
        pseudo_frequencies: the same in the pseudo labels.
        empty_share: share of the pseudo labels that contain no object.
        true_empty_share: the same of ground truth.
        quality: the first metric of the pseudo labels against the ground truth of a pool.
        misfits: sentences on values of the task that do not fit its training boxes.
        gradient_share: mean share of the head in the backbone's gradient.
        student_seen: number of labeled images of the head that the student was trained on.
        teacher_seen: number of images that the teacher was trained on, repetitions included.
        correlation: of a relative depth with ground truth, on test.
        threshold: one for all classes, where the labels have one.

    Example:
        Evidence(head="objects", metric="box_ap50", student=0.01, teacher=0.5, trivial=0.0)
    """

    head: str
    metric: str
    student: float | None
    teacher: float | None
    trivial: float | None
    has_objects: bool = False
    training_images: int | None = None
    labeled_share: float | None = None
    true_frequencies: Mapping[str, float] | None = None
    pseudo_frequencies: Mapping[str, float] | None = None
    empty_share: float | None = None
    true_empty_share: float | None = None
    quality: float | None = None
    misfits: tuple[str, ...] = ()
    gradient_share: float | None = None
    student_seen: float | None = None
    teacher_seen: int | None = None
    correlation: float | None = None
    threshold: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shortfall:
    """A head of the student that is not above the trivial baseline, or far below its teacher.

    Attributes:
        head: its name.
        kind: which of the two.
        metric: the name of its first metric.
        student: its value on test.
        teacher: the same of its teacher.
        trivial: the same of the trivial baseline.
        likely: causes, the most telling first; none where nothing in the run points to one.

    Example:
        for found in report["shortfalls"]:
            print(found["head"], [cause["advice"] for cause in found["likely"]])
    """

    head: str
    kind: Kind
    metric: str
    student: float
    teacher: float | None
    trivial: float
    likely: tuple[Cause, ...]

    def describe(self) -> dict[str, object]:
        """Return it as report.json has it."""
        likely = [cause._asdict() for cause in self.likely]
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return fields | {"likely": likely}


def kind_of(evidence: Evidence) -> Kind | None:
    """Return how a head falls short on its first metric; None where it does not, or is unknown."""
    gain = _gain(evidence, evidence.student)
    if gain is None:
        return None
    if gain <= _NO_GAIN * _room(evidence):
        return "not_above_trivial"
    of_teacher = _gain(evidence, evidence.teacher)
    is_far = of_teacher is not None and gain < _KEPT_GAIN * of_teacher
    return "far_below_teacher" if is_far else None


def find(evidence: Evidence) -> Shortfall | None:
    """Return the shortfall of a head with its likely causes; None where it has none."""
    kind = kind_of(evidence)
    if kind is None:
        return None
    found = (cause(evidence) for cause in _CAUSES)
    return Shortfall(
        head=evidence.head,
        kind=kind,
        metric=evidence.metric,
        student=evidence.student,
        teacher=evidence.teacher,
        trivial=evidence.trivial,
        likely=tuple(cause for cause in found if cause is not None),
    )


def sentence(found: Mapping) -> str:
    """Return what falls short, of an entry of report.json's "shortfalls"."""
    value = f"{found['metric']} is {found['student']:.3f}"
    trivial = f"the trivial baseline, {found['trivial']:.3f}"
    if found["kind"] == "not_above_trivial":
        better = find_metric(found["metric"]).signed
        is_above = better(found["student"]) > better(found["trivial"])
        how = "hardly" if is_above else "not"
        return f"The student's head {found['head']!r} is {how} above {trivial}: {value}."
    return (
        f"The student's head {found['head']!r} is far below its teacher: {value}, its teacher's "
        f"{found['teacher']:.3f}, {trivial}."
    )


def advice(found: Mapping) -> Iterator[str]:
    """Yield a sentence for each likely cause of a shortfall, or one where none was found."""
    for cause in found["likely"]:
        yield f"Likely because {cause['text']}. To try: {cause['advice']}."
    if not found["likely"]:
        yield (
            "Nothing in the data of this run points to a cause. To try: look at its labels in "
            "labels.html, and train longer or with another learning rate."
        )


def _gain(evidence: Evidence, value: float | None) -> float | None:
    """Return how much a value is better than the trivial baseline's."""
    if value is None or evidence.trivial is None:
        return None
    signed = find_metric(evidence.metric).signed
    return signed(value) - signed(evidence.trivial)


def _room(evidence: Evidence) -> float:
    """Return what a perfect score gains over the trivial baseline."""
    is_share = find_metric(evidence.metric).is_share
    return 1.0 - evidence.trivial if is_share else abs(evidence.trivial)


# ---- causes --------------------------------------------------------------------------------------


def _inverted(evidence: Evidence) -> Cause | None:
    if evidence.correlation is None or evidence.correlation >= 0.0:
        return None
    text = (
        f"its depth is inverted (its correlation with ground truth is {evidence.correlation:.2f})"
    )
    return Cause("inverted_depth", text, "check which way the teacher's depth is stored")


def _is_weak(evidence: Evidence) -> bool:
    """Return whether the teacher is known to gain little over the trivial baseline."""
    gain = _gain(evidence, evidence.teacher)
    return gain is not None and gain <= _WEAK_TEACHER * _room(evidence)


def _weak_teacher(evidence: Evidence) -> Cause | None:
    if not _is_weak(evidence):
        return None
    how = "hardly" if _gain(evidence, evidence.teacher) > 0 else "not"
    text = (
        f"its teacher is {how} better than the trivial baseline ({evidence.teacher:.3f} and "
        f"{evidence.trivial:.3f}), so its pseudo labels teach little"
    )
    return Cause("weak_teacher", text, "train the teacher longer, or on more labeled images")


def _misfits(evidence: Evidence) -> Cause | None:
    if not evidence.misfits:
        return None
    text = f"values of its task do not fit its boxes: {'; '.join(evidence.misfits)}"
    return Cause("anchors", text, "use fitted_detection, or a larger size of the network")


def _few_labels(evidence: Evidence) -> Cause | None:
    images, share, texts = evidence.training_images, evidence.labeled_share, []
    if images is not None and images < _FEW_IMAGES:
        texts.append(f"its teacher has {images:,} training images")
    if share is not None and share < _LOW_SHARE:
        texts.append(f"{share:.0%} of the student's images have a label of it")
    if not texts:
        return None
    advice = "label more images, give the pool's images a label of it, or use repeats"
    return Cause("few_labels", " and ".join(texts), advice)


def _other_domain(evidence: Evidence) -> Cause | None:
    texts = list(_other_labels(evidence))
    if not texts:
        return None
    text = (
        f"the images that its teacher labeled are of another domain than the teacher's own: "
        f"{' and '.join(texts)}"
    )
    advice = "a pool that is more like the teacher's images, or gate=DomainGate()"
    if evidence.threshold is not None:
        advice += f", or another threshold than {evidence.threshold:g}"
    return Cause("other_domain", text, advice)


def _other_labels(evidence: Evidence) -> Iterator[str]:
    true, pseudo = evidence.true_frequencies or {}, evidence.pseudo_frequencies or {}
    total, of_pseudo = sum(true.values()), sum(pseudo.values())
    if total and of_pseudo:
        ratio = of_pseudo / total
        if not 1.0 / _OTHER_AMOUNT < ratio < _OTHER_AMOUNT:
            found, usual = f"{of_pseudo:.2g} objects per image", f"{total:.2g}"
            if not evidence.has_objects:
                found, usual = f"a class for {of_pseudo:.0%} of the pixels", f"for {total:.0%}"
            yield f"its pseudo labels have {found}, its ground truth {usual}"
        classes = true.keys() | pseudo.keys()
        distance = 0.5 * sum(
            abs(true.get(k, 0.0) / total - pseudo.get(k, 0.0) / of_pseudo) for k in classes
        )
        if distance > _OTHER_CLASSES:
            yield (
                f"the frequencies of classes differ by {distance:.0%} (total variation) between "
                "pseudo labels and ground truth"
            )
    elif total:
        yield "its pseudo labels contain nothing"
    empty, usual = evidence.empty_share, evidence.true_empty_share or 0.0
    if empty is not None and empty > usual + _MORE_EMPTY:
        yield f"{empty:.0%} of its pseudo labels have no object, of ground truth {usual:.0%}"
    quality, own = _gain(evidence, evidence.quality), _gain(evidence, evidence.teacher)
    is_known = quality is not None and own is not None and not _is_weak(evidence)
    if is_known and quality < _KEPT_QUALITY * own:
        yield (
            f"{evidence.metric} of its pseudo labels on the pool is {evidence.quality:.3f}, on its "
            f"own set {evidence.teacher:.3f}"
        )


def _low_gradient(evidence: Evidence) -> Cause | None:
    share = evidence.gradient_share
    if share is None or share >= _LOW_GRADIENT:
        return None
    text = (
        f"other heads decide what the backbone learns: {share:.1%} of its gradient is this head's"
    )
    return Cause("low_loss_weight", text, "a larger loss_weight of its teacher")


def _short_training(evidence: Evidence) -> Cause | None:
    seen, of_teacher = evidence.student_seen, evidence.teacher_seen
    if seen is None or not of_teacher or seen >= _SHORT_TRAINING * of_teacher:
        return None
    text = f"the student saw {seen:,.0f} images with a label of it, its teacher {of_teacher:,}"
    return Cause("short_training", text, "more steps for the student")


# The most telling first.
_CAUSES: tuple[Callable[[Evidence], Cause | None], ...] = (
    _inverted,
    _weak_teacher,
    _misfits,
    _other_domain,
    _few_labels,
    _short_training,
    _low_gradient,
)
