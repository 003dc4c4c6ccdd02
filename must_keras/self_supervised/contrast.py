"""Contrast: which of all views of the batch is the other view of the same image?

The loss of SimCLR (arXiv 2002.05709) as a self-labeled task, beside other heads.
"""

import dataclasses
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops

from must_keras.errors import UserError, expect
from must_keras.modeling.heads import ConfiguredLayer, mean_over_area
from must_keras.ops import Tensor
from must_keras.ops.precision import full
from must_keras.ops.sampling import fold
from must_keras.self_supervised.simclr import compare_views
from must_keras.self_supervised.views import RandomViews, random_view
from must_keras.tasks import evaluation, parts, self_labeled
from must_keras.tasks.parts import Arrays, Norm, Size, Tensors
from must_keras.tasks.streams import Stream, whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomView(Stream):
    """A random view of the original; views with other numbers are sampled independently.

    Attributes:
        number: which view of the image, 1 and up.
        views: ranges and probabilities.

    Example:
        Contrast().streams  # (RandomView(number=1), RandomView(number=2))
    """

    number: int
    views: RandomViews = dataclasses.field(default_factory=RandomViews)

    def view(self, original: Tensor, x: Tensors, key: Tensor) -> dict[str, Tensor]:
        size = tuple(x["image"].shape[:2])
        image = random_view(original, fold(key[None], self.number)[0], self.views, size)
        return {"image": image, "area": whole(size)}


@keras.saving.register_keras_serializable(package="must_keras")
class ProjectionHead(ConfiguredLayer):
    """The mean of C5 over the image, a hidden layer as wide as C5 with a ReLU, a linear layer.

    Args:
        dimensions: D.
        size: (H, W) of the input in pixels, to which `area` refers.

    Call arguments:
        features: {"C5": [B, h, w, C], "area": [B, 4] (ymin, xmin, ymax, xmax)}.

    Returns:
        [B, D] in full precision, not normalized.

    Example:
        head = ProjectionHead(128, size=(64, 64))
        features = {"C5": np.ones((1, 2, 2, 8)), "area": np.array([[0.0, 0.0, 64.0, 64.0]])}
        head(features).shape  # (1, 128)

    """

    arguments = ("dimensions", "size")

    def __init__(self, dimensions: int, *, size: Size, **kwargs: Any):
        # Areas are pixels: half precision would round them.
        super().__init__(autocast=False, **kwargs)
        self.dimensions, self.size = dimensions, tuple(size)
        self.last = layers.Dense(dimensions, dtype=full(), name="outputs")

    def build(self, input_shape: dict[str, tuple[int | None, ...]]) -> None:
        width = input_shape["C5"][-1]
        self.hidden = layers.Dense(width, "relu", dtype=full(), name="hidden")
        self.hidden.build((None, width))
        self.last.build((None, width))

    def call(self, features: dict[str, Tensor]) -> Tensor:
        mean = mean_over_area(features["C5"], features["area"], self.size)
        return self.last(self.hidden(mean))


class Labels(self_labeled.SelfLabels):
    """{"shown": [B] bool}: the images that are compared with each other.

    Example:
        Contrast().labels.label(x, keys)["shown"].shape  # (8,)
    """

    def label(self, x: Tensors, keys: Tensor) -> dict[str, Tensor]:
        return {"shown": x["shown"]}

    def weight(self, label: Tensors) -> Tensor:
        return ops.cast(label["shown"], "float32")


class Head(parts.Head):
    """Projections of two views, and the normalized temperature-scaled cross-entropy of each.

    The loss of an image is the mean of those of its two views. They are compared with all views of
    the batch of all replicas, but for images that the head does not learn from.

    Example:
        Contrast().head.features  # ("C5",)
    """

    features = ("C5",)
    has_rule_weight: ClassVar[bool] = False

    def build(self, size: Size, norm: Norm) -> keras.Layer:
        return ProjectionHead(self.task.dimensions, size=size, name=self.task.name)

    def loss(self, label: Tensors, prediction: Any, layer: keras.Layer, keys: Tensor) -> Tensor:
        views = ops.normalize(ops.concatenate(prediction), axis=-1)
        shown = label["shown"]
        losses, _ = compare_views(views, temperature=self.task.temperature, shown=shown)
        first, second = ops.split(losses, 2)
        return ops.where(shown, (first + second) / 2.0, ops.zeros_like(first))


class Evaluator(evaluation.Evaluator):
    """The share of views that are most similar to the other view of their image, of a batch.

    Where several views are most similar, each counts as chosen in equal shares. It depends on the
    number of images in a batch.

    Example:
        evaluator = Contrast().metrics.evaluator()
        evaluator.update(label, [first, second])
        evaluator.result()  # {"partner_top1": 0.8}
    """

    metrics = (evaluation.share("partner_top1"),)

    def __init__(self):
        self._sum, self._count = 0.0, 0

    def update(self, label: Arrays, prediction: Sequence[np.ndarray]) -> None:
        views = np.concatenate([np.asarray(side)[label["shown"]] for side in prediction])
        half = len(views) // 2
        if half < 2:
            return  # There is no other image.
        views = views / np.maximum(np.linalg.norm(views, axis=-1, keepdims=True), 1e-12)
        similarity = views @ views.T
        np.fill_diagonal(similarity, -math.inf)
        is_nearest = similarity == similarity.max(axis=1, keepdims=True)
        rows, partner = np.arange(2 * half), np.roll(np.arange(2 * half), half)
        self._sum += float((is_nearest[rows, partner] / is_nearest.sum(axis=1)).sum())
        self._count += 2 * half

    def values(self) -> Sequence[float]:
        return [self._sum / self._count if self._count else math.nan]


class TrivialBaseline(evaluation.TrivialBaseline):
    """The same projection for all views: right at chance, 1 of 2 B - 1.

    Example:
        Contrast().metrics.trivial_baseline().predict(8)
    """

    def update(self, label: Arrays) -> None:
        pass

    def prediction(self) -> dict[str, np.ndarray]:
        return {"first": np.ones(1, np.float32), "second": np.ones(1, np.float32)}

    def predict(self, num_images: int) -> Any:
        """Return the two projections of every image, [num_images, 1] each."""
        return list(super().predict(num_images).values())


class Metrics(evaluation.Metrics):
    """The share of views whose partner is found, compared with chance.

    Example:
        Contrast().metrics.evaluator().metrics[0].name  # "partner_top1"
    """

    def evaluator(self) -> Evaluator:
        return Evaluator()

    def trivial_baseline(self) -> TrivialBaseline:
        return TrivialBaseline()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contrast(self_labeled.SelfLabeledTask):
    """A self-labeled task: two random views of an image attract, all others of the batch repel.

    Unlike SimCLR(...), which passes both views of all images in one batch, each of the two streams
    has a pass of its own, and BatchNormalization its own statistics of each.

    Attributes:
        views: ranges and probabilities of the two views.
        temperature: of the softmax, above 0.
        dimensions: length of a projection.

    Raises:
        UserError: a value is of another type or range.

    Example:
        contrast = mk.Contrast(temperature=1.0)
        mk.SelfLabeled(task=contrast, loss_weight=1.0, sources=("pool",))

    Reference: arXiv 2002.05709; as a head beside supervised ones, with a temperature of 1: STARTUP
    (arXiv 2010.07734).
    """

    name: str = "contrast"
    views: RandomViews = dataclasses.field(default_factory=RandomViews)
    temperature: float = 0.1
    dimensions: int = 128

    compares_images: ClassVar[bool] = True

    def __post_init__(self) -> None:
        where = f"self-labeled task {self.name!r}"
        expect(where, self, views=RandomViews, temperature=Real, dimensions=int)
        for name in ("temperature", "dimensions"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError.of(where, name, getattr(self, name), "expected a number above 0")

    labels: ClassVar[Any] = property(Labels)
    head: ClassVar[Any] = property(Head)
    metrics: ClassVar[Any] = property(Metrics)

    @property
    def streams(self) -> tuple[Stream, ...]:
        return tuple(RandomView(number=number, views=self.views) for number in (1, 2))
