"""A network and images that are small enough to be trained in a moment."""

import dataclasses

import keras
import numpy as np

from must_keras.modeling.backbone import Backbone
from must_keras.training.network import Network


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewLayers(Backbone):
    """A convolution and a BatchNormalization for every level."""

    def _features(self, image):
        levels, x = {}, keras.layers.Rescaling(1 / 255)(image)
        for level, channels, stride in (("C2", 8, 4), ("C3", 8, 2), ("C4", 8, 2), ("C5", 16, 2)):
            x = keras.layers.Conv2D(channels, 3, strides=stride, padding="same")(x)
            x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
            levels[level] = x
        return levels


NETWORK = Network(backbone=FewLayers(), size=32, channels=8)


class Noise:
    """Random pictures without labels."""

    def __init__(self, count: int = 24):
        self._count = count

    def __len__(self):
        return self._count

    def image_id(self, index):
        return f"noise/{index}"

    def load(self, index):
        random = np.random.default_rng(index)
        cells = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        return np.kron(cells, np.ones((7, 8, 1), np.uint8)), {}
