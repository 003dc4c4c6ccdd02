"""Pre-training without labels: one file for every method, beside what they have in common."""

from must_keras.self_supervised.method import SelfSupervised
from must_keras.self_supervised.moco import MoCo
from must_keras.self_supervised.simclr import SimCLR
from must_keras.self_supervised.views import RandomViews

__all__ = ["MoCo", "RandomViews", "SelfSupervised", "SimCLR"]
