"""Weights of the heads' losses in the student: the scaling rule, uniform, or learned.

A new way is a subclass of Weighting; nothing lists them.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

import keras
from keras import ops

from must_keras.errors import UserError
from must_keras.ops.precision import full
from must_keras.tasks.base import Task
from must_keras.training.config import TrainingConfig

Tensor = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weight:
    """A head's loss weight and its source; of a learned weight, the initial value.

    Example:
        Weight(value=0.5, source="given")

    """

    value: float
    source: Literal["formula", "given", "equal", "learned"]


class Head(Protocol):
    """The fields of a teacher on which a weight may depend.

    Where `loss_weight` is None there is a `training`, a TrainingConfig.

    Example:
        Teacher(name="boxes", task=task, sets=sets, training=training, loss_weight=0.5)

    """

    name: str
    task: Task
    loss_weight: float | None


class LearnedWeights(keras.Layer):
    """Weights that change in training; its variables are saved with the network's.

    Variables of one axis are not decayed (see optimizers.py).

    Attributes:
        uses_gradients: whether `update_by_gradients` is called too, which costs one more backward
            pass through each head.

    Example:
        learned = Uncertainty().learner(tasks)
        total = sum(learned.factors()[name] * loss for name, loss in losses.items())
        total += learned.penalty(labeled)

    """

    uses_gradients: ClassVar[bool] = False

    def factors(self) -> dict[str, Tensor]:
        """Return {head: factor of its loss}, scalars."""
        raise NotImplementedError

    def penalty(self, labeled: Mapping[str, Tensor]) -> Tensor:
        """Return the term of the loss that keeps weights from vanishing, a scalar; here none.

        Args:
            labeled: {head: 1.0 where the batch has a label for it, else 0.0}.
        """
        return 0.0

    def update(self, losses: Mapping[str, Tensor], labeled: Mapping[str, Tensor]) -> None:
        """Take in the losses of a step, after its weights were used; here nothing is done.

        Args:
            losses: {head: loss of the batch of all replicas}, scalars.
            labeled: as in `penalty`.
        """

    def update_by_gradients(
        self,
        losses: Mapping[str, Tensor],
        labeled: Mapping[str, Tensor],
        norms: Mapping[str, Tensor],
    ) -> None:
        """Take in the gradients of a step, where `uses_gradients`; here nothing is done.

        Args:
            losses: as in `update`.
            labeled: as in `penalty`.
            norms: {head: norm of the gradient of its unweighted loss with respect to the
                backbone's last kernel}, of the whole batch of all replicas; 0 where there is none.
        """


class Weighting(abc.ABC):
    """A way to weight the heads' losses, as a frozen dataclass in a recipe.

    Example:
        @dataclasses.dataclass(frozen=True)
        class Halves(Weighting):
            def weights(self, student, heads):
                return {head.task.name: Weight(value=0.5, source="given") for head in heads}

    """

    @abc.abstractmethod
    def weights(self, student: TrainingConfig, heads: Sequence[Head]) -> dict[str, Weight]:
        """Return {head: weight} before the first step.

        Args:
            student: the student's training.
            heads: the teachers of its heads.

        Raises:
            UserError: a head needs a weight that the recipe does not give.
        """

    def learner(self, tasks: Sequence[Task]) -> LearnedWeights | None:
        """Return the layer that learns the weights; None: they are constant."""
        return None


class LearnedWeighting(Weighting):
    """Weights that begin at 1 and follow the training, as the subclass's `learner` says.

    Example:
        @dataclasses.dataclass(frozen=True)
        class Drawn(LearnedWeighting):
            def learner(self, tasks):
                return DrawnWeights([task.name for task in tasks])

    """

    def weights(self, student: TrainingConfig, heads: Sequence[Head]) -> dict[str, Weight]:
        return {head.task.name: Weight(value=1.0, source="learned") for head in heads}


@dataclasses.dataclass(frozen=True)
class ScalingRule(Weighting):
    """The paper's weights, or the `loss_weight` that the recipe gives a teacher.

    w_i = (b_s * lr_i) / (b_i * lr_s), from batch sizes b and peak learning rates lr of the student
    s and the teacher i (Ghiasi et al., 2021): every head keeps the step per example of its
    teacher's training. The paper gives depth a number of its own, which is not published.

    Example:
        mk.Student(training=training, weighting=mk.ScalingRule())

    """

    def weights(self, student: TrainingConfig, heads: Sequence[Head]) -> dict[str, Weight]:
        return {head.task.name: self._weight(student, head) for head in heads}

    def _weight(self, student: TrainingConfig, head: Head) -> Weight:
        if head.loss_weight is not None:
            return Weight(value=head.loss_weight, source="given")
        if not head.task.head.has_rule_weight:
            raise UserError(
                f"head {head.task.name!r}: the scaling rule has no weight for labels of kind "
                f"{head.task.kind!r}; give teacher {head.name!r} a loss_weight"
            )
        teacher: TrainingConfig = head.training
        value = (student.batch * teacher.learning_rate) / (teacher.batch * student.learning_rate)
        return Weight(value=value, source="formula")


@dataclasses.dataclass(frozen=True)
class Uniform(Weighting):
    """A weight of 1 for every head, whatever `loss_weight` its teacher has.

    Example:
        mk.Student(training=training, weighting=mk.Uniform())

    """

    def weights(self, student: TrainingConfig, heads: Sequence[Head]) -> dict[str, Weight]:
        return {head.task.name: Weight(value=1.0, source="equal") for head in heads}


@dataclasses.dataclass(frozen=True)
class Uncertainty(Weighting):
    """Weights learned from homoscedastic uncertainty (Kendall et al., 2018).

    With s_i = log sigma_i^2 of head i, trained with the network from 0 on:

        L = sum_i c_i exp(-s_i) L_i + s_i / 2

    c is 1/2 for a regression (a Gaussian's likelihood) and 1 for a classification (a softmax at a
    temperature). Detection, whose loss is a sum of both, counts as a classification. A head without
    a label in the batch adds nothing: its s would fall, and its weight grow, without a reason. A
    teacher's `loss_weight` is not used.

    Example:
        mk.Student(training=training, weighting=mk.Uncertainty())

    Reference: arXiv 1705.07115, equations 7 and 10.
    """

    def weights(self, student: TrainingConfig, heads: Sequence[Head]) -> dict[str, Weight]:
        return {h.task.name: Weight(value=_constant(h.task), source="learned") for h in heads}

    def learner(self, tasks: Sequence[Task]) -> LearnedWeights:
        return _LogVariances(tasks)


def _constant(task: Task) -> float:
    return 0.5 if task.head.is_regression else 1.0


class _LogVariances(LearnedWeights):
    def __init__(self, tasks: Sequence[Task]):
        super().__init__(name="loss_uncertainty", dtype=full())
        self._constants = {task.name: _constant(task) for task in tasks}
        self.log_variances = self.add_weight(
            shape=(len(tasks),), initializer="zeros", dtype=full(), name="log_variances"
        )

    def factors(self) -> dict[str, Tensor]:
        precisions, constants = ops.exp(-self.log_variances), enumerate(self._constants.items())
        return {name: constant * precisions[i] for i, (name, constant) in constants}

    def penalty(self, labeled: Mapping[str, Tensor]) -> Tensor:
        heads = enumerate(self._constants)
        return sum(0.5 * self.log_variances[i] * labeled[name] for i, name in heads)
