"""Tags of images, of which several can be right at once; `Tags`, at the end, lists its parts."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops
from PIL import Image, ImageDraw

from must_keras.errors import listed
from must_keras.modeling.heads import ImageHead
from must_keras.ops.views import View
from must_keras.tasks import base
from must_keras.tasks.details import Details, Disagreement, ratio
from must_keras.tasks.evaluation import Evaluator, ScoredPredictions, TrivialBaseline, share
from must_keras.tasks.parts import Arrays, Norm, Size, Spec, Stored, Tensor, Tensors
from must_keras.tasks.summaries import Framing, LabelContent, Ranking, Sketch
from must_keras.tasks.thresholds import Threshold
from must_keras.tasks.typed import TagProbabilities
from must_keras.tasks.visualization import enlarge, font

UNKNOWN = -1.0
"""In a label: nobody said whether the image has the tag."""


class Labels(base.Labels):
    """{"tags": [K] float32}: 1 where the image has a tag, 0 where it has not, UNKNOWN, or between.

    Between 0 and 1 is the probability of a teacher.

    Example:
        Tags(name="scene", classes=("beach", "people")).labels.missing()  # {"tags": [-1, -1]}
    """

    content_unit: ClassVar[str] = "image"
    count_unit: ClassVar[str] = "images"

    def stored_spec(self) -> dict[str, Spec]:
        return {"tags": Spec((len(self.classes),), "float32")}

    def missing(self) -> dict[str, np.ndarray]:
        return {"tags": np.full(len(self.classes), UNKNOWN, np.float32)}

    def relabel(self, stored: Stored, table: np.ndarray) -> dict[str, Any] | None:
        """Return the tags that both lists have; others are unknown. Of two in one, the higher."""
        kept = table >= 0
        tags = self.missing()["tags"]
        np.maximum.at(tags, table[kept], np.asarray(stored["tags"], np.float32)[kept])
        return {"tags": tags} if _known(tags).any() else None

    def spec(self, size: Size) -> dict[str, Spec]:
        return self.stored_spec()

    def warp(self, stored: Tensors, view: View) -> dict[str, Tensor]:
        return dict(stored)

    def weight(self, label: Tensors) -> Tensor:
        """Return 1 for an image of which any tag is known."""
        return ops.cast(ops.any(label["tags"] >= 0.0, axis=-1), "float32")

    def content(self, stored: Stored, framing: Framing) -> LabelContent:
        """Count the tags that the image has."""
        found = (np.asarray(stored["tags"]) >= 0.5).astype(np.int64)
        return LabelContent(total=1, found=found, usable=found, lost={})

    def taught_by(self, stored: Stored) -> tuple[str, ...]:
        return self.teachable if _known(stored["tags"]).any() else ()

    def count_classes(self, stored: Stored) -> np.ndarray:
        """Return 1 for each tag that the image has."""
        return (np.asarray(stored["tags"]) >= 0.5).astype(np.float64)

    def group(self, stored: Stored) -> int | None:
        """Return 0 where any tag is known."""
        return 0 if _known(stored["tags"]).any() else None


def _known(tags: Any) -> np.ndarray:
    return np.asarray(tags) >= 0.0


class Head(base.Head):
    """Global average pooling of C5 and the mean binary cross-entropy of the known tags.

    Example:
        Tags(name="scene", classes=("beach", "people")).head.features  # ("C5",)
    """

    features = ("C5",)

    def build(self, size: Size, norm: Norm) -> keras.Layer:
        return ImageHead(len(self.task.classes), size=size, name=self.task.name)

    def loss(self, label: Tensors, prediction: Any, layer: keras.Layer, keys: Tensor) -> Tensor:
        target, logits = label["tags"], prediction["logits"]
        known = ops.cast(target >= 0.0, logits.dtype)
        # -t log p - (1 - t) log (1 - p), finite for every logit.
        losses = ops.softplus(logits) - target * logits
        return ops.sum(known * losses, axis=-1) / ops.maximum(ops.sum(known, axis=-1), 1.0)


class Predictions(base.Predictions):
    """{"tags": [B, K]}: the probability of each tag.

    Example:
        task = Tags(name="scene", classes=("beach", "people"))
        task.predictions.to_json({"tags": np.float32([0.2, 0.8])})
    """

    def decode(self, prediction: Any, layer: keras.Layer, map_size: Size) -> dict[str, Tensor]:
        return {"tags": ops.sigmoid(ops.cast(prediction["logits"], "float32"))}

    def typed(self, prediction: Arrays, size: Size) -> TagProbabilities:
        return TagProbabilities(**prediction, class_names=self.task.classes)

    def to_json(self, prediction: Arrays) -> dict[str, Any]:
        """Return {"tags": {"name", "probability"} of every tag, the most likely first}."""
        probabilities = np.asarray(prediction["tags"])
        order = np.argsort(-probabilities, kind="stable")
        shares = {self.task.classes[i]: round(float(probabilities[i]), 4) for i in order}
        return {"tags": [{"name": name, "probability": p} for name, p in shares.items()]}


class Records(base.Records):
    """The probability of every tag.

    Example:
        Tags(name="scene", classes=("beach", "people")).records.spec()
    """

    takes_threshold: ClassVar[bool] = True
    why_unweighted: ClassVar[str | None] = "are unknown where a teacher is unsure"

    def spec(self) -> dict[str, Spec]:
        return {"tags": Spec((None,), "float32")}

    def from_prediction(self, prediction: Arrays, area: np.ndarray, size: Size) -> dict[str, Any]:
        return {"tags": np.asarray(prediction["tags"], np.float32)}

    def from_label(self, stored: Stored) -> dict[str, Any]:
        return {"tags": np.asarray(stored["tags"], np.float32)}

    def to_label(self, record: Stored, threshold: Threshold) -> dict[str, np.ndarray]:
        """Return certain tags: of a probability of t and more 1, of less than 1 - t 0.

        t is the tag's threshold; where it is below 0.5, less than t is 0. What is between is
        unknown, and so is every tag of a dropped class. Without a threshold, all probabilities.
        """
        tags = np.asarray(record["tags"], np.float32)
        if threshold is None:
            return {"tags": tags}
        high = self.limits(threshold).astype(np.float32)
        low = np.where(np.isfinite(high), np.minimum(high, np.float32(1.0) - high), -np.inf)
        found = np.full(tags.shape, UNKNOWN, np.float32)
        found[(tags >= 0.0) & (tags < low)] = 0.0
        found[tags >= high] = 1.0
        return {"tags": found}

    def sketch(self, record: Stored) -> Sketch:
        """Return the ranking; the certainty is the mean distance to 0.5, twice."""
        tags = np.asarray(record["tags"])
        order = np.argsort(-tags, kind="stable")
        known = tags[_known(tags)]
        certainty = float(np.abs(2.0 * known - 1.0).mean()) if known.size else 0.0
        ranking = Ranking(classes=order, probabilities=np.clip(tags[order], 0.0, 1.0))
        return Sketch(certainty=certainty, answers=ranking)


def average_precision(true: np.ndarray, scores: np.ndarray) -> float:
    """Return sum_n (R_n - R_(n-1)) P_n over the distinct scores, the highest first.

    Precision P_n and recall R_n are those of all images with a score of at least the n-th; the area
    is not interpolated. NaN where no image has the tag.

    Args:
        true: [N] bool, whether each image has the tag.
        scores: [N].

    Reference: Manning et al., Introduction to Information Retrieval, section 8.4; for equal scores
    the definition of scikit-learn's average_precision_score.
    """
    if not true.any():
        return math.nan
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(true[order])
    # The last place of each distinct score.
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    precision, recall = right[last] / (last + 1), right[last] / right[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


class TagScores(Evaluator):
    """Mean average precision over the tags, micro and macro F1; unknown tags count nothing.

    tag_map: the mean of `average_precision` over the tags that some image has. micro_f1: F1 of all
    tags of all images together at a probability of 0.5. macro_f1: the mean of each tag's F1, over
    the tags that some image has.

    Example:
        scores = TagScores(num_classes=2)
        scores.update({"tags": np.float32([[1, 0]])}, {"tags": np.float32([[0.9, 0.2]])})
        scores.result()  # {"tag_map": 1.0, "micro_f1": 1.0, "macro_f1": 1.0}
    """

    metrics = (share("tag_map"), share("micro_f1"), share("macro_f1"))

    def __init__(self, *, num_classes: int) -> None:
        self._true = [np.zeros((0, num_classes))]
        self._scores = [np.zeros((0, num_classes))]

    def update(self, label: Arrays, prediction: Arrays) -> None:
        # Pseudo labels may be unknown too.
        true, scores = (np.asarray(part["tags"], np.float64) for part in (label, prediction))
        self._true.append(np.where(_known(scores), true, UNKNOWN))
        self._scores.append(scores)

    def values(self) -> list[float]:
        precisions, right, found, asked = self._of_tags()
        is_asked = asked > 0
        if not is_asked.any():
            return [math.nan] * 3
        of_each = 2.0 * right[is_asked] / (found + asked)[is_asked]
        micro = 2.0 * right.sum() / (found.sum() + asked.sum())
        return [float(np.nanmean(precisions)), float(micro), float(of_each.mean())]

    def details(self, classes: Sequence[str], *, size: int) -> Details:
        """Return the images of each tag, average precision, F1, precision and recall at 0.5."""
        precisions, right, found, asked = self._of_tags()
        columns = {
            "images": asked,
            "average_precision": np.array(precisions),
            "f1": np.where(asked > 0, ratio(2.0 * right, found + asked), math.nan),
            "precision": ratio(right, found),
            "recall": ratio(right, asked),
        }
        return Details.of_classes(classes, columns)

    def _of_tags(self) -> tuple[list[float], np.ndarray, np.ndarray, np.ndarray]:
        """Return each tag's average precision, and numbers at 0.5: right, predicted, true; [K]."""
        true, scores = np.concatenate(self._true), np.concatenate(self._scores)
        known, positive = _known(true), true >= 0.5
        precisions = [
            average_precision(positive[known[:, k], k], scores[known[:, k], k])
            for k in range(true.shape[1])
        ]
        predicted = known & (scores >= 0.5)
        counted = (predicted & positive, predicted, known & positive)
        return precisions, *(x.sum(axis=0) for x in counted)


class TagFrequency(TrivialBaseline):
    """The share of the images that have each tag, of those where it is known.

    Example:
        baseline = TagFrequency(num_classes=2)
        baseline.update({"tags": np.float32([[1, 0], [1, 1]])})
        baseline.predict(1)  # {"tags": [[1.0, 0.5]]}
    """

    def __init__(self, *, num_classes: int) -> None:
        self._has, self._known = np.zeros(num_classes), np.zeros(num_classes)

    def update(self, label: Arrays) -> None:
        tags = np.asarray(label["tags"], np.float64)
        self._has += np.where(_known(tags), tags, 0.0).sum(axis=0)
        self._known += _known(tags).sum(axis=0)

    def prediction(self) -> dict[str, np.ndarray]:
        return {"tags": (self._has / np.maximum(self._known, 1.0)).astype(np.float32)}


class Metrics(base.Metrics):
    """Average precision and F1, compared with the frequency of each tag.

    Example:
        Tags(name="scene", classes=("beach", "people")).metrics.evaluator()
    """

    def evaluator(self) -> Evaluator:
        return TagScores(num_classes=len(self.task.classes))

    def scored_predictions(self, label: Arrays, prediction: Arrays) -> ScoredPredictions:
        """Return every known tag of every image, which is right where the image has it."""
        true, scores = np.asarray(label["tags"]), np.asarray(prediction["tags"])
        images, classes = np.nonzero(_known(true) & _known(scores))
        has = true[images, classes] >= 0.5
        return ScoredPredictions(
            scores=scores[images, classes],
            classes=classes,
            correct=has,
            num_true=np.bincount(classes[has], minlength=len(self.task.classes)),
        )

    def disagreements(self, label: Arrays, prediction: Arrays) -> list[Disagreement | None]:
        """Return the sum over an image's known tags of |label - probability|."""
        true, scores = (np.asarray(part["tags"], float) for part in (label, prediction))
        distances = np.where(_known(true), np.abs(true - scores), 0.0)
        found: list[Disagreement | None] = []
        for known, of_image in zip(_known(true).any(-1), distances, strict=True):
            wrong = [self.task.classes[k] for k in np.argsort(-of_image) if of_image[k] > 0.5]
            text = f"wrong: {listed(wrong, limit=4)}" if wrong else "all tags right"
            found.append(Disagreement(float(of_image.sum()), text) if known else None)
        return found

    def trivial_baseline(self) -> TrivialBaseline:
        return TagFrequency(num_classes=len(self.task.classes))


class Visualization(base.Visualization):
    """Names and probabilities over the image.

    Example:
        image = np.zeros((64, 64, 3), np.uint8)
        task = Tags(name="scene", classes=("beach", "people"))
        task.visualization.visualize(image, {"tags": np.float32([0.2, 0.8])})
    """

    def visualize(self, image: np.ndarray, shown: Arrays) -> np.ndarray:
        """Return the five most likely tags of at least 0.5 over the darkened image, enlarged."""
        picture = Image.fromarray(enlarge(image))
        canvas = Image.blend(picture, Image.new("RGB", picture.size), 0.45)
        pen, tags = ImageDraw.Draw(canvas), np.asarray(shown["tags"])
        likely = [index for index in np.argsort(-tags, kind="stable") if tags[index] >= 0.5]
        for line, index in enumerate(likely[:5]):
            text = f"{self.task.classes[index]} {tags[index]:.2f}"
            pen.text((6, 8 + 18 * line), text, fill=(255, 255, 255), font=font())
        if not likely:
            pen.text((6, 8), "no tag", fill=(200, 200, 200), font=font())
        return np.asarray(canvas)


class External(base.External):
    """[B, K] probabilities or logits, in the order of the task's classes.

    Example:
        Tags(name="scene", classes=("beach", "people")).external.forms
    """

    forms: ClassVar[tuple[str, ...]] = ("probabilities", "logits")

    def decode(self, values: Any, form: str, map_size: Size, **of_detectors: Any) -> Arrays:
        self.check_shape(values, (len(self.task.classes),), form)
        values = np.asarray(values, np.float32)
        if form == "logits":
            values = ops.convert_to_numpy(ops.sigmoid(values))
        if not np.isfinite(values).all() or values.min() < -1e-3 or values.max() > 1.001:
            raise self.task.error(
                f"an external model's {form} lie in {values.min():.3g} to {values.max():.3g}, "
                "expected 0 to 1: are they logits, or of another output?"
            )
        return {"tags": np.clip(values, 0.0, 1.0)}


@keras.saving.register_keras_serializable(package="must_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Tags(base.Task):
    """Which of K tags an image has: any number of them, each known or not.

    Attributes:
        classes: names of the tags, in the order of the indices.

    Example:
        mk.Tags(name="findings", classes=("edema", "effusion", "fracture"))
    """

    classes: tuple[str, ...]

    kind: ClassVar[str] = "tags"
    parts = (Labels, Head, Predictions, Records, Metrics, Visualization, External)

    def __post_init__(self) -> None:
        self.check_distinct()
