"""Mixing of two examples: one seen through its view, a partner through the partner's own.

Every example has a partner, at the same position of the same order with another seed: with a share
of ground truth both have it, or neither has. The partner is read where a number from the example's
key selects a mixing, so that the cost is proportional to the probability.

A mixing changes the image within its picture, and labels. Padding stays padding. How labels are
combined depends on what they mean: see tasks/mixtures.py.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np
import tensorflow as tf

from must_keras.data import pipeline
from must_keras.data.pipeline import Example, Labels
from must_keras.errors import UserError, expect
from must_keras.ops import Tensor, sampling
from must_keras.tasks.base import Task
from must_keras.tasks.parts import Size, Tensors

# Purposes of the random numbers that belong to one key.
_CHOICE, _RECTANGLE, _SHARE, _OBJECTS = 121, 122, 123, 124


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixing(abc.ABC):
    """One way to combine an example with its partner.

    Attributes:
        probability: share of the examples that are mixed in this way, (0, 1].

    Example:
        TrainingConfig(..., mixing=(CutMix(probability=0.3), MixUp(probability=0.2)))
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        where = type(self).__name__
        expect(where, self, probability=Real)
        if not 0.0 < self.probability <= 1.0:
            problem = "expected more than 0 and at most 1"
            raise UserError.of(where, "probability", self.probability, problem)

    @abc.abstractmethod
    def check(self, where: str, tasks: Sequence[Task]) -> None:
        """Raise UserError where no head can learn from mixed images, or one from no image at all.

        Args:
            where: what is trained, for the message.
            tasks: its heads.
        """

    def fits(self, examples: Any, index: Tensor, partner: Tensor) -> Tensor:
        """Return whether an example can be mixed with its partner, before that is read: a bool.

        Args:
            examples: what both are of.
            index: of the example, an int64 scalar.
            partner: of its partner.
        """
        return tf.constant(True)

    @abc.abstractmethod
    def mix(self, one: Example, other: Example, tasks: Sequence[Task], key: Tensor) -> Example:
        """Return the mixture of an example and its partner.

        Args:
            one: the example, whose inputs other than "image" stay.
            other: its partner.
            tasks: the heads.
            key: of the example's random numbers, an int32 scalar.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class CutMix(Mixing):
    """A rectangle of the image shows the partner; labels of pixels are cut likewise.

    The rectangle has a uniformly sampled share of the picture's area, the picture's proportions and
    a uniformly sampled center, and is clipped to the pictures of both. Relative depth keeps the
    label of the image that shows more valid pixels. Heads with another label than one for every
    pixel have none for a mixed image; the paper's classes are mixed by area.

    Reference: arXiv 1905.04899; Depth Anything (arXiv 2401.10891) mixes pairs of unlabeled images.

    Example:
        mk.TrainingConfig(..., mixing=(mk.CutMix(probability=0.5),))
    """

    def check(self, where: str, tasks: Sequence[Task]) -> None:
        unlabeled = [task for task in tasks if not task.mixtures.pastes]
        if len(unlabeled) == len(tasks):
            raise _no_head(where, self, "a label for every pixel", tasks)
        if unlabeled and self.probability == 1.0:
            problem = f"leaves no label to {_named(unlabeled)}: choose a lower probability"
            message = f"{where}: mixing: CutMix(probability=1.0) {problem}"
            raise UserError(message, key="mixing", value=self)

    def mix(self, one: Example, other: Example, tasks: Sequence[Task], key: Tensor) -> Example:
        numbers = sampling.uniform(key[None], 3, purpose=_RECTANGLE)[0]
        size = one[0]["image"].shape[:2]
        where = inside(rectangle(one[0]["area"], numbers), size) & inside(other[0]["area"], size)
        labels = _labels(
            tasks, one, other, lambda task, *labels: task.mixtures.pasted(*labels, where)
        )
        return _either(tf.reduce_any(where), (_replaced(one, other, where), labels), one)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixUp(Mixing):
    """The weighted mean of two images and of their distributions of classes.

    Heads without classes of images have no label for a mixed image. An example stays as it is
    where no head has a label of both images. Labels are mixed, as in the paper; the teachers of
    arXiv 2106.05237 label mixed images instead.

    Attributes:
        alpha: the weight is sampled from the beta distribution with both parameters `alpha`; 1 is
            uniform, as in arXiv 2106.05237, less gives unequal weights.

    Reference: arXiv 1710.09412.

    Example:
        mk.TrainingConfig(..., mixing=(mk.MixUp(probability=0.5, alpha=0.2),))
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        expect("MixUp", self, alpha=Real)
        if not self.alpha > 0.0:
            raise UserError.of("MixUp", "alpha", self.alpha, "expected more than 0")

    def check(self, where: str, tasks: Sequence[Task]) -> None:
        if not any(task.mixtures.blends for task in tasks):
            raise _no_head(where, self, "classes of images", tasks)

    def mix(self, one: Example, other: Example, tasks: Sequence[Task], key: Tensor) -> Example:
        share = self.share(sampling.uniform(key[None], 1, purpose=_SHARE)[0, 0])
        (x, _), (other_x, _) = one, other
        own, others = (tf.cast(inputs["image"], tf.float32) for inputs in (x, other_x))
        mean = tf.cast(tf.round(share * own + (1.0 - share) * others), tf.uint8)
        where = inside(x["area"], x["image"].shape[:2])
        labels = _labels(
            tasks, one, other, lambda task, *labels: task.mixtures.blended(*labels, share)
        )
        mixed = _replaced(one, ({"image": mean}, {}), where), labels
        is_learned = tf.reduce_any([_is_labeled(task, labels[task.name]) for task in tasks])
        return _either(is_learned, mixed, one)

    def share(self, number: Tensor) -> Tensor:
        """Return the weight of the image of a uniform number in [0, 1): a float32 scalar."""
        from scipy.special import betaincinv

        def run(number: np.ndarray) -> np.ndarray:
            return np.float32(betaincinv(self.alpha, self.alpha, np.float64(number)))

        return tf.ensure_shape(tf.numpy_function(run, [number], tf.float32, stateful=False), ())


@dataclasses.dataclass(frozen=True, kw_only=True)
class CopyPaste(Mixing):
    """Objects of the partner are pasted into the image; every label has what is in front.

    Of the partner's objects with masks each is pasted with a chance of a half. They keep the place
    that they have in the partner's view, and are cut to the picture. Boxes and masks of objects
    behind them are updated: see the `mixtures` of Detection. Under the objects maps and normals are
    the partner's, and unknown where the partner has none. Depth is unknown there, except meters
    below those of the image. Other heads, such as classes of images, have no label. The example
    stays as it is where nothing is pasted.

    Objects of ground truth are pasted into images with ground truth alone, and pseudo labels into
    images with pseudo labels: a partner of the other kind is not read, and the example stays as it
    is. The paper also pastes ground truth into images with pseudo labels. It scales images by 0.1
    to 2; here that is the augmentation's.

    Attributes:
        probability: share of the examples that get objects, where the origins match; the default
            costs at most about a tenth of the input's time.
        head: name of the head whose labels are boxes with masks.

    Reference: arXiv 2012.07177.

    Example:
        mk.TrainingConfig(..., mixing=(mk.CopyPaste(head="objects"),))
    """

    head: str
    probability: float = 0.05

    def check(self, where: str, tasks: Sequence[Task]) -> None:
        if not any(task.name == self.head and task.mixtures.max_instances for task in tasks):
            raise _no_head(where, self, f"boxes and masks, here head={self.head!r}", tasks)

    def fits(self, examples: Any, index: Tensor, partner: Tensor) -> Tensor:
        """Return whether the labels of both have the same origin, true or pseudo."""

        def run(*indices: np.int64) -> np.bool_:
            one, other = (examples.origin(self.head, int(i)) for i in indices)
            return np.bool_(one == other != "missing")

        found = tf.numpy_function(run, [index, partner], tf.bool, stateful=False)
        return tf.ensure_shape(found, ())

    def mix(self, one: Example, other: Example, tasks: Sequence[Task], key: Tensor) -> Example:
        pasting = next(task for task in tasks if task.name == self.head)
        (x, labels), (_, others) = one, other
        size = tuple(x["image"].shape[:2])
        number, spec = pasting.mixtures.max_instances, pasting.labels.spec(size)
        chosen = sampling.uniform(key[None], number, purpose=_OBJECTS)[0] < 0.5

        def run(area: np.ndarray, chosen: np.ndarray, *parts: np.ndarray) -> list[np.ndarray]:
            own, of_other = (
                dict(zip(spec, some, strict=True))
                for some in (parts[: len(spec)], parts[len(spec) :])
            )
            options = {"chosen": chosen, "area": area, "size": size}
            found, where = pasting.mixtures.paste_objects(own, of_other, **options)
            return [where, *(found[key] for key in spec)]

        parts = [label[self.head][key] for label in (labels, others) for key in spec]
        dtypes = [tf.bool, *(tf.as_dtype(one.dtype) for one in spec.values())]
        where, *found = tf.numpy_function(run, [x["area"], chosen, *parts], dtypes, stateful=False)
        where = tf.ensure_shape(where, size)
        label = dict(zip(spec, found, strict=True))

        def combine(task: Task, own: Tensors, of_other: Tensors) -> Tensors | None:
            if task is pasting:
                return label
            return task.mixtures.pasted_under_objects(own, of_other, where)

        mixed = _replaced(one, other, where), _labels(tasks, one, other, combine)
        return _either(tf.reduce_any(where), mixed, one)


def check_all(where: str, mixings: Sequence[Mixing]) -> None:
    """Raise UserError where the probabilities of mixings add up to more than 1."""
    total = sum(mixing.probability for mixing in mixings)
    if total > 1.0 + 1e-9:
        problem = f"each example is mixed in one way at most, and the probabilities are {total:g}"
        raise UserError(f"{where}: mixing: {problem}, more than 1", key="mixing", value=mixings)


def mixer(mixings: Sequence[Mixing], examples: Any, tasks: Sequence[Task]) -> pipeline.Mix | None:
    """Return what mixes examples with their partners, each in one way at most; None for no way.

    Args:
        mixings: the ways.
        examples: what is mixed, for CopyPaste of `data.examples`, which have origins.
        tasks: the heads.
    """
    if not mixings:
        return None

    def mix(
        one: Example, see_other: Callable[[], Example], key: Tensor, indices: tuple[Tensor, Tensor]
    ) -> Example:
        number = sampling.uniform(key[None], 1, purpose=_CHOICE)[0, 0]
        is_chosen, low = [], 0.0
        for mixing in mixings:
            high = low + mixing.probability
            fits = functools.partial(mixing.fits, examples, *indices)
            is_in = (number >= low) & (number < high)
            is_chosen.append(tf.cond(is_in, fits, lambda: tf.constant(False)))
            low = high

        def mixed() -> Example:
            other = see_other()
            ways = [functools.partial(m.mix, one, other, tasks, key) for m in mixings]
            return tf.switch_case(tf.argmax(is_chosen, output_type=tf.int32), ways)

        return tf.cond(tf.reduce_any(is_chosen), mixed, lambda: one)

    return mix


def rectangle(area: Tensor, numbers: Tensor) -> Tensor:
    """Return CutMix's rectangle in a picture: [4], clipped to it.

    Args:
        area: [4], the picture, in pixels.
        numbers: [3] in [0, 1): the share of its area, and the center (y, x) in its fractions.
    """
    low, sides = area[:2], area[2:] - area[:2]
    center, half = low + numbers[1:] * sides, 0.5 * tf.sqrt(numbers[0]) * sides
    first, last = tf.maximum(center - half, low), tf.minimum(center + half, area[2:])
    return tf.concat([first, last], axis=0)


def inside(box: Tensor, size: Size) -> Tensor:
    """Return the pixels whose centers are in a box, [4], of an image of (H, W): [H, W] bool."""
    rows, columns = (tf.range(side, dtype=tf.float32) + 0.5 for side in size)
    in_rows = (rows >= box[0]) & (rows < box[2])
    return in_rows[:, None] & ((columns >= box[1]) & (columns < box[3]))[None, :]


def _replaced(one: Example, other: Example, where: Tensor) -> dict[str, Tensor]:
    """Return the inputs of an example with the pixels `where`, [H, W] bool, of another."""
    image = tf.where(where[..., None], other[0]["image"], one[0]["image"])
    return one[0] | {"image": image}


def _labels(
    tasks: Sequence[Task],
    one: Example,
    other: Example,
    combine: Callable[[Task, Tensors, Tensors], Tensors | None],
) -> Labels:
    """Return {head: combined label of two examples}; missing ones where `combine` returns None."""
    size, found = one[0]["image"].shape[:2], {}
    for task in tasks:
        label = combine(task, one[1][task.name], other[1][task.name])
        label = pipeline.unlabeled(task, tuple(size)) if label is None else label
        spec = task.labels.spec(size)
        found[task.name] = {key: tf.ensure_shape(label[key], spec[key].shape) for key in spec}
    return found


def _either(condition: Tensor, one: Example, other: Example) -> Example:
    """Return one example where a bool scalar is True, else the other."""
    return tf.nest.map_structure(lambda a, b: tf.where(condition, a, b), one, other)


def _is_labeled(task: Task, label: Tensors) -> Tensor:
    """Return whether a label weighs anything: a bool scalar."""
    batch = {key: value[None] for key, value in label.items()}
    return task.labels.weight(batch)[0] > 0.0


def _no_head(where: str, mixing: Mixing, needed: str, tasks: Sequence[Task]) -> UserError:
    """Return the error for a mixing from which no head can learn."""
    name, heads = type(mixing).__name__, _named(tasks) or "none"
    message = f"{where}: mixing: {name} needs a head with {needed}; heads: {heads}"
    return UserError(message, key="mixing", value=mixing)


def _named(tasks: Sequence[Task]) -> str:
    return ", ".join(f"{task.name} ({task.kind})" for task in tasks)
