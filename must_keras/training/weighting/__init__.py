"""How much each head's loss counts in the student: one file for every way."""

from must_keras.training.weighting.base import LearnedWeights, Weight, Weighting
from must_keras.training.weighting.equal import Equal
from must_keras.training.weighting.formula import Formula
from must_keras.training.weighting.uncertainty import Uncertainty

__all__ = ["Equal", "Formula", "LearnedWeights", "Uncertainty", "Weight", "Weighting"]
