"""Pre-training without labels: one file for every method, beside what they have in common."""

from must_keras.selfsup.method import SelfSupervised
from must_keras.selfsup.moco import MoCo
from must_keras.selfsup.simclr import SimCLR
from must_keras.selfsup.views import RandomViews

__all__ = ["MoCo", "RandomViews", "SelfSupervised", "SimCLR"]
