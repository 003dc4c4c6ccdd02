"""The paper's weights: every head keeps the per-example step of its teacher's training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from must_keras.errors import UserError
from must_keras.tasks import Depth
from must_keras.training.loss_weights.base import Head, Run, Weight, Weighting


@dataclasses.dataclass(frozen=True)
class ScalingRule(Weighting):
    """w_i = (b_s * lr_i) / (b_i * lr_s), or the `loss_weight` that the recipe gives a teacher.

    From batch sizes b and peak learning rates lr of the student s and the teacher i (Ghiasi et
    al., 2021). The paper gives depth a number of its own, which is not known.
    """

    def weights(self, student: Run, heads: Sequence[Head]) -> dict[str, Weight]:
        return {head.task.name: _weight(student, head) for head in heads}


def _weight(student: Run, head: Head) -> Weight:
    if head.loss_weight is not None:
        return Weight(value=head.loss_weight, source="given")
    if isinstance(head.task, Depth):
        raise UserError(
            f"head {head.task.name!r}: depth takes no weight from the formula; "
            f"give teacher {head.name!r} a loss_weight"
        )
    teacher: Run = head.training
    value = (student.batch * teacher.learning_rate) / (teacher.batch * student.learning_rate)
    return Weight(value=value, source="formula")
