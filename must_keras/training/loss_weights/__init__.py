"""How much each head's loss counts in the student: one file for every way."""

from must_keras.training.loss_weights.base import LearnedWeights, Weight, Weighting
from must_keras.training.loss_weights.scaling_rule import ScalingRule
from must_keras.training.loss_weights.uncertainty import Uncertainty
from must_keras.training.loss_weights.uniform import Uniform

__all__ = ["LearnedWeights", "ScalingRule", "Uncertainty", "Uniform", "Weight", "Weighting"]
