"""A network and images that are small enough to be traced and trained in a moment."""

import dataclasses

import keras
import numpy as np

from must_keras.modeling.backbone import Backbone
from must_keras.training.network import Network


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewLayers(Backbone):
    """A convolution and a BatchNormalization for every level; with one residual branch, or none."""

    is_residual: bool = False

    def _features(self, image):
        levels, x = {}, keras.layers.Rescaling(1 / 255)(image)
        for level, channels, stride in (("C2", 8, 4), ("C3", 8, 2), ("C4", 8, 2), ("C5", 16, 2)):
            x = keras.layers.Conv2D(channels, 3, strides=stride, padding="same")(x)
            x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
            levels[level] = x
        if self.is_residual:
            branch = keras.layers.Conv2D(x.shape[-1], 3, padding="same")(x)
            levels["C5"] = keras.layers.Add()([x, branch])
        return levels


class Pretrained(FewLayers):
    """The same with weights of its own: random ones, which are always the same."""

    def checkpoint(self):
        random = np.random.default_rng(0)
        shapes = [w.shape for w in self.build((64, 64), {}).get_weights()]
        kernels, others = (-0.3, 0.3), (0.5, 1.0)
        return [random.uniform(*(kernels if len(s) == 4 else others), s) for s in shapes]


class OnlyOnce(FewLayers):
    """A backbone whose model can be called once."""

    def build(self, size, norm, name="backbone"):
        return Once(super().build(size, norm), name=name)


class Once(keras.Model):
    def __init__(self, network, **kwargs):
        super().__init__(**kwargs)
        self.network, self.calls = network, 0

    def call(self, image, training=None):
        self.calls += 1
        if self.calls > 1:
            raise RuntimeError("its state is that of one image")
        return self.network(image, training=training)


NETWORK = Network(backbone=FewLayers(), size=32, channels=8)


def crops(image, stored, key):
    """Two crops of an image, 32 pixels a side: views that cost no time to trace."""
    del stored, key
    return {"image": image[:32, :32], "other": image[8:40, 8:40]}, {}


class Noise:
    """Random images without labels."""

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
