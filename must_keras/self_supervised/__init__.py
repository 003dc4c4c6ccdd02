"""Pretraining without labels: one file for each method, beside its interface and the views."""

from must_keras.self_supervised.method import SelfSupervised
from must_keras.self_supervised.moco import MoCo
from must_keras.self_supervised.simclr import SimCLR
from must_keras.self_supervised.views import RandomViews

__all__ = ["MoCo", "RandomViews", "SelfSupervised", "SimCLR"]
