"""Self-supervision: one file for each method of pretraining, and for each self-labeled task."""

from must_keras.self_supervised.contrast import Contrast
from must_keras.self_supervised.jigsaw import Jigsaw
from must_keras.self_supervised.method import SelfSupervised
from must_keras.self_supervised.moco import MoCo
from must_keras.self_supervised.rotation import Rotation
from must_keras.self_supervised.self_labeling import SelfLabeling
from must_keras.self_supervised.simclr import SimCLR
from must_keras.self_supervised.views import RandomViews

__all__ = [
    "Contrast", "Jigsaw", "MoCo", "RandomViews", "Rotation", "SelfLabeling", "SelfSupervised",
    "SimCLR",
]  # fmt: skip
