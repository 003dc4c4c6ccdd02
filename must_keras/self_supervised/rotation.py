"""Rotation: by which multiple of 90 degrees is the image rotated?

Gidaris, Singh, Komodakis: "Unsupervised Representation Learning by Predicting Image Rotations",
ICLR 2018 (arXiv 1803.07728).
"""

import dataclasses

from keras import ops

from must_keras.ops import Tensor
from must_keras.self_supervised.changes import CROPS, Changed, ChangeRecognition
from must_keras.self_supervised.views import RandomViews


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotated(Changed):
    """A random view that is rotated counterclockwise by 0, 90, 180 or 270 degrees.

    Example:
        Rotated().change(image, 1)  # by 90 degrees
    """

    classes = ("0", "90", "180", "270")

    def change(self, image: Tensor, choice: Tensor) -> Tensor:
        turns = [lambda i, k=k: ops.rot90(i, k) for k in range(len(self.classes))]
        return ops.switch(choice, turns, image)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotation(ChangeRecognition):
    """A self-labeled task: by 0, 90, 180 or 270 degrees is a view rotated?

    The paper shows all four rotations of every image to the network; here each image has one in
    each epoch, which costs one pass in place of four.

    Attributes:
        views: of the view before it is rotated: crops alone by default.

    Example:
        rotation = mk.SelfLabeled(task=mk.Rotation(), loss_weight=0.5)
        mk.Student(training=training, self_labeled=(rotation,))

    Reference: arXiv 1803.07728; as a head beside supervised ones: S4L (arXiv 1905.03670).
    """

    name: str = "rotation"
    views: RandomViews = CROPS

    @property
    def stream(self) -> Rotated:
        """The rotated view."""
        return Rotated(views=self.views)
