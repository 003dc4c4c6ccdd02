"""The head that predicts another network's features, and the statistics that standardize them."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from must_keras.modeling.heads import ConfiguredLayer, mean_over_area
from must_keras.ops import Tensor
from must_keras.ops.precision import full

# {feature of the teacher: feature map of the student that predicts it}; C5 is averaged over the
# image on both sides, the others are compared cell by cell.
LEVELS = {"C3": "P3", "C4": "P4", "C5": "C5"}
# The smallest deviation of a channel, relative to that of its level: a unit that was silent in the
# images of the statistics, and is active later, would have a huge value.
_SMALLEST = 0.01


@keras.saving.register_keras_serializable(package="must_keras")
class FeatureHead(ConfiguredLayer):
    """For each of `LEVELS` one hidden layer with a ReLU and a linear one, applied cell by cell.

    The hidden layer is as wide as the student's features. The mean and the deviation of the
    teacher's channels are weights that are not trained: checkpoints of the student contain them.

    Args:
        channels: {level of the teacher: number of its channels}.
        statistics: {level: (mean [C], deviation [C])}; None: of the weights that are loaded.
        size: (H, W) of the input in pixels, to which `area` refers.

    Call arguments:
        features: {"P3": [B, h, w, C], "P4", "C5", "area": [B, 4] (ymin, xmin, ymax, xmax)}.

    Returns:
        {"C3": [B, h, w, channels["C3"]], "C4", "C5": [B, channels["C5"]]}, float32.

    Example:
        head = FeatureHead({"C3": 40, "C4": 112, "C5": 1280}, size=(224, 224), name="lite0")
        head(features)["C5"].shape  # (1, 1280)

    Reference: two-layer projections as in AM-RADIO (arXiv 2312.06709) and UNIC (arXiv 2408.05088),
    here with a ReLU and without a normalization.
    """

    arguments = ("channels", "size")

    def __init__(
        self,
        channels: Mapping[str, int],
        statistics: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
        *,
        size: tuple[int, int],
        **kwargs: Any,
    ):
        # Areas are pixels: half precision would round them.
        super().__init__(autocast=False, **kwargs)
        self.channels, self.size = dict(channels), tuple(size)
        self._statistics = dict(statistics or {})
        self.last = {
            level: layers.Dense(number, dtype=full(), name=f"outputs_{level}")
            for level, number in self.channels.items()
        }

    def build(self, input_shape: Mapping[str, tuple[int | None, ...]]) -> None:
        self.hidden, self.mean, self.deviation = {}, {}, {}
        for level, number in self.channels.items():
            shape = tuple(input_shape[LEVELS[level]])
            dtype = full() if level == "C5" else self.dtype_policy
            hidden = layers.Dense(shape[-1], "relu", dtype=dtype, name=f"hidden_{level}")
            hidden.build(shape)
            self.hidden[level] = hidden
            self.last[level].build(shape)
            initial = self._statistics.get(level, (0.0, 1.0))
            for name, weights, value in zip(
                ("mean", "deviation"), (self.mean, self.deviation), initial, strict=True
            ):
                weights[level] = self.add_weight(
                    shape=(number,),
                    initializer=keras.initializers.Constant(value),
                    dtype=full(),
                    trainable=False,
                    name=f"{name}_{level}",
                )

    def call(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for level in self.channels:
            x = features[LEVELS[level]]
            x = mean_over_area(x, features["area"], self.size) if level == "C5" else x
            found[level] = self.last[level](self.hidden[level](x))
        return found

    def standardize(self, level: str, values: Tensor) -> Tensor:
        """Return features of the teacher, [..., C], minus the mean, divided by the deviation."""
        return (values - self.mean[level]) / self.deviation[level]


def teacher_features(network: keras.Model, image: Tensor, area: Tensor) -> dict[str, Tensor]:
    """Return what a `FeatureHead` predicts: {"C3", "C4": [B, h, w, C], "C5": [B, C]}, float32.

    Args:
        network: a model from images to {"C2", ..., "C5"}.
        image: [B, H, W, 3] RGB in [0, 255].
        area: [B, 4] the image without its padding, in pixels.
    """
    levels, size = network(image, training=False), tuple(image.shape[1:3])
    found = {level: ops.cast(levels[level], full()) for level in LEVELS}
    return found | {"C5": mean_over_area(levels["C5"], area, size)}


class ChannelStatistics:
    """Mean and deviation of each channel over the cells of many images, padding left out.

    Example:
        statistics = ChannelStatistics()
        statistics.add({"C5": np.ones((4, 8))}, area, size=(64, 64))
        mean, deviation = statistics.result()["C5"]
    """

    def __init__(self) -> None:
        self._sums: dict[str, np.ndarray] = {}

    def add(self, features: Mapping[str, Any], area: Any, *, size: tuple[int, int]) -> None:
        """Count a batch; every image has the same weight.

        Args:
            features: {level: [B, C] or [B, h, w, C]}.
            area: [B, 4] the images without their padding, in pixels.
            size: (H, W) of the images in pixels.
        """
        shown = np.asarray(area, np.float64)
        shown = np.all(shown[:, 2:] > shown[:, :2], axis=1)
        for level, values in features.items():
            moments = [values, ops.square(values)]
            if len(values.shape) == 4:
                moments = [mean_over_area(moment, area, size) for moment in moments]
            rows = [np.asarray(moment, np.float64)[shown] for moment in moments]
            sums = np.stack([*(row.sum(0) for row in rows), np.full(rows[0].shape[1], shown.sum())])
            self._sums[level] = self._sums.get(level, 0.0) + sums

    def result(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return {level: ([C] mean, [C] deviation)}, float32.

        A deviation is at least a hundredth of the root mean square of its level's deviations.
        """
        found = {}
        for level, (first, second, count) in self._sums.items():
            mean = first / np.maximum(count, 1.0)
            variance = np.maximum(second / np.maximum(count, 1.0) - mean**2, 0.0)
            smallest = np.maximum(_SMALLEST * np.sqrt(variance.mean()), 1e-6)
            deviation = np.maximum(np.sqrt(variance), smallest)
            found[level] = (mean.astype(np.float32), deviation.astype(np.float32))
        return found
