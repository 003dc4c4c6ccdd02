"""Scores of maps of classes, and the most frequent class of each pixel to compare them with."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from must_keras.ops import maps
from must_keras.tasks import base
from must_keras.tasks.details import Details, Disagreement, ratio
from must_keras.tasks.evaluation import Evaluator, ScoredPredictions, TrivialBaseline, share
from must_keras.tasks.parts import Arrays

IGNORE = 255


class MeanIou(Evaluator):
    """miou over the set's summed confusion, and the share of pixels with the right class.

    Classes that are neither in ground truth nor in predictions are left out.

    Example:
        iou = MeanIou(2)
        iou.update({"map": np.uint8([[[0, 1]]])}, {"map": np.uint8([[[0, 0]]])})
        iou.result()  # {"miou": 0.25, "pixel_accuracy": 0.5}
    """

    metrics = (share("miou"), share("pixel_accuracy"))

    def __init__(self, num_classes: int):
        # Counts of (true class, predicted class) over all pixels that have a true class.
        self._counts = np.zeros((num_classes, num_classes), np.int64)

    def update(self, label: Arrays, prediction: Arrays) -> None:
        true, predicted = np.asarray(label["map"]), np.asarray(prediction["map"])
        num_classes = len(self._counts)
        known = (true != IGNORE) & (predicted < num_classes)
        pairs = true[known].astype(np.int64) * num_classes + predicted[known]
        counts = np.bincount(pairs, minlength=num_classes**2)
        self._counts += counts.reshape(self._counts.shape)

    def values(self) -> list[float]:
        counts = self._counts
        if not counts.any():
            return [math.nan, math.nan]
        both = np.diag(counts)
        either = counts.sum(0) + counts.sum(1) - both
        ious = both[either > 0] / either[either > 0]
        return [float(ious.mean()), float(np.trace(counts) / counts.sum())]

    def details(self, classes: Sequence[str], *, size: int) -> Details:
        """Return each class's share of the pixels, IoU, accuracy and precision, and confusions.

        The accuracy is the share of the pixels of a class that are right.
        """
        counts, both = self._counts, np.diag(self._counts)
        true, predicted = counts.sum(1), counts.sum(0)
        columns = {
            "share": ratio(true, np.full_like(true, counts.sum())),
            "iou": ratio(both, true + predicted - both),
            "accuracy": ratio(both, true),
            "precision": ratio(both, predicted),
        }
        confused = {(int(i), int(j)): counts[i, j] for i, j in np.argwhere(counts)}
        return Details.of_classes(classes, columns, confused=confused)


class MapQuality(Evaluator):
    """The same over the pixels that have a pseudo label, and the share of these pixels.

    Example:
        quality = MapQuality(2)
        quality.update({"map": np.uint8([[[0, 1]]])}, {"map": np.uint8([[[0, 255]]])})
        quality.result()["labelled_share"]  # 0.5
    """

    metrics = (*MeanIou.metrics, share("labelled_share"))

    def __init__(self, num_classes: int):
        self._labeled = MeanIou(num_classes)
        self._num_known = self._num_labeled = 0

    def update(self, label: Arrays, prediction: Arrays) -> None:
        self._labeled.update(label, prediction)
        known = np.asarray(label["map"]) != IGNORE
        self._num_known += int(known.sum())
        self._num_labeled += int((known & (np.asarray(prediction["map"]) != IGNORE)).sum())

    def values(self) -> list[float]:
        labeled = self._num_labeled / self._num_known if self._num_known else math.nan
        return [*self._labeled.values(), labeled]


class PixelFrequency(TrivialBaseline):
    """The most frequent class of each pixel of the input.

    Example:
        baseline = PixelFrequency(2)
        baseline.update({"map": np.uint8([[[0, 1]]])})
        baseline.predict(1)["map"]  # [[[0, 1]]]
    """

    def __init__(self, num_classes: int):
        self._num_classes = num_classes
        self._counts: Any = 0

    def update(self, label: Arrays) -> None:
        classes = np.asarray(label["map"])
        # Class by class: all at once would be K times the size of the batch.
        counts = [(classes == k).sum(0, dtype=np.int32) for k in range(self._num_classes)]
        self._counts = self._counts + np.stack(counts, axis=-1)

    def prediction(self) -> dict[str, np.ndarray]:
        most = self._counts.argmax(-1).astype(np.uint8)
        frequency = self._counts.max(-1) / np.maximum(self._counts.sum(-1), 1)
        return {"map": most, "confidence": frequency.astype(np.float32)}


class Metrics(base.Metrics):
    """Mean IoU, compared with the most frequent class of each pixel.

    Example:
        Segmentation(name="parts", classes=("wall", "floor")).metrics.evaluator()
    """

    def evaluator(self) -> Evaluator:
        return MeanIou(len(self.task.classes))

    def quality(self) -> Evaluator:
        return MapQuality(len(self.task.classes))

    def scored_predictions(self, label: Arrays, prediction: Arrays) -> ScoredPredictions:
        """Return the class of every pixel that is labeled."""
        known = np.asarray(label["map"]) != IGNORE
        true, predicted = np.asarray(label["map"])[known], np.asarray(prediction["map"])[known]
        scores = maps.as_byte(np.asarray(prediction["confidence"])[known]) / np.float32(255)
        return ScoredPredictions.of(scores, predicted, true, len(self.task.classes))

    def disagreements(self, label: Arrays, prediction: Arrays) -> list[Disagreement | None]:
        """Return the share of each image's labeled pixels whose class is wrong."""
        known = np.asarray(label["map"]) != IGNORE
        wrong = known & (np.asarray(label["map"]) != np.asarray(prediction["map"]))
        shares = ratio(wrong.sum((1, 2)), known.sum((1, 2))).tolist()
        return [None if s != s else Disagreement(s, f"{s:.1%} of its pixels wrong") for s in shares]

    def trivial_baseline(self) -> TrivialBaseline:
        return PixelFrequency(len(self.task.classes))
