"""The interface of a task's labels of mixed images, which show two (see data/mixing.py)."""

from typing import ClassVar

import numpy as np

from must_keras.ops import Tensor
from must_keras.tasks.parts import Arrays, Part, Size, Tensors


class Mixtures(Part):
    """Labels of images that show two; here of a task that has no label in any of them.

    The labels of both images are those of `Labels.warp`, without a batch axis, at one size.

    Example:
        Depth(name="distance").mixtures.pastes  # True
    """

    pastes: ClassVar[bool] = False
    """Whether `pasted` returns labels."""

    blends: ClassVar[bool] = False
    """Whether `blended` returns labels."""

    @property
    def max_instances(self) -> int:
        """Objects of a label that `paste_objects` can paste; 0 where labels have no masks."""
        return 0

    def pasted(self, label: Tensors, other: Tensors, where: Tensor) -> Tensors | None:
        """Return the label of an image in which some pixels are those of another.

        Args:
            label: of the image.
            other: of the other image.
            where: [H, W] bool, the pixels that are the other's.

        Returns:
            The label; None where the task has none for such an image.
        """
        return None

    def pasted_under_objects(self, label: Tensors, other: Tensors, where: Tensor) -> Tensors | None:
        """Return the same as `pasted` where the pixels are objects of the other image."""
        return self.pasted(label, other, where)

    def blended(self, label: Tensors, other: Tensors, share: Tensor) -> Tensors | None:
        """Return the label of a weighted mean of two images; None where the task has none.

        Args:
            label: of the image with the weight `share`.
            other: of the image with the rest.
            share: float32 scalar, 0 to 1.
        """
        return None

    def paste_objects(
        self, label: Arrays, other: Arrays, *, chosen: np.ndarray, area: np.ndarray, size: Size
    ) -> tuple[Arrays, np.ndarray]:
        """Return a label with objects of another in front, and their pixels, [H, W] bool.

        Args:
            label: of the image.
            other: of the other image.
            chosen: [max_instances] bool, which objects of the other are pasted.
            area: [4], the picture without its padding, to which objects are cut.
            size: (H, W) of both images.
        """
        raise NotImplementedError
