"""How far from its own images a teacher may label."""

import dataclasses
import math
from numbers import Real
from typing import Any

import numpy as np

from must_keras.errors import UserError, expect


@dataclasses.dataclass(frozen=True, kw_only=True)
class DomainGate:
    """A limit for the distance of an image from a teacher's own training images.

    A detector that was trained on one small set of pictures finds its objects on pictures of
    anything. Beyond the limit a teacher's label of an image is missing: neither its objects nor
    background are learned there.

    The distance is the Mahalanobis distance of the image's C4 in the teacher's backbone, averaged
    over the image and scaled to length 1, from the teacher's training images. The limit is the
    smallest distance that at least a share `quantile` of its validation images do not exceed.

    Attributes:
        quantile: a share within (0, 1]; 1: the limit is the largest distance of them all.

    Raises:
        UserError: the quantile is no number within (0, 1].

    Example:
        mk.Teacher(name="nuclei", task=task, sets=sets, training=training, gate=mk.DomainGate())

    Reference: A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
    Attacks (arXiv 1807.03888). Here there is one mean for all training images, since most tasks
    have no class of an image; one level; vectors of length 1 (arXiv 2505.18032); a shrunk
    covariance, for sets of few images; and the image is not changed towards the mean.

    """

    quantile: float = 0.99

    def __post_init__(self) -> None:
        expect("the domain gate", self, quantile=Real)
        if not 0.0 < self.quantile <= 1.0:
            problem = "expected a share of the validation images within (0, 1]"
            raise UserError.of("the domain gate", "quantile", self.quantile, problem)

    def limit(self, distances: np.ndarray) -> float:
        """Return the largest allowed distance.

        Args:
            distances: of the validation images, [N] with N at least 1.
        """
        # 0.95 of 20 are 19: float arithmetic must not make 20 of them.
        place = math.ceil(round(self.quantile * len(distances), 6))
        return float(np.sort(distances)[max(place, 1) - 1])


def check_gate(teacher: Any) -> None:
    """Raise UserError where a teacher has a gate without training images of its own."""
    where = f"teacher {teacher.name!r}"
    expect(where, teacher, gate=DomainGate | None)
    if teacher.gate is not None and not teacher.is_trained_here:
        problem = "only a teacher that is trained here has training images to be near to"
        raise UserError.of(where, "gate", teacher.gate, problem)
