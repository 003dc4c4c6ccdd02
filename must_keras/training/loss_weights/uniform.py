"""Every head counts the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from must_keras.training.loss_weights.base import Head, Run, Weight, Weighting


@dataclasses.dataclass(frozen=True)
class Uniform(Weighting):
    """1 for every head, whatever `loss_weight` its teacher has: the baseline of all others."""

    def weights(self, student: Run, heads: Sequence[Head]) -> dict[str, Weight]:
        del student
        return {head.task.name: Weight(value=1.0, source="equal") for head in heads}
