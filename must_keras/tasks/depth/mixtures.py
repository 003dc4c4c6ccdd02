"""Depth of images that show two: relative depths of two images have no common scale."""

from keras import ops

from must_keras.tasks import pixel_maps
from must_keras.tasks.parts import Tensor, Tensors


class Mixtures(pixel_maps.MapMixtures):
    """Meters of both images, or the relative depth of one of them.

    Example:
        Depth(name="distance").mixtures.pastes  # True
    """

    def pasted(self, label: Tensors, other: Tensors, where: Tensor) -> Tensors:
        """Return meters of both; of relative depths, those of the image with more valid pixels.

        With equally many it is the image itself. The depth of the other's pixels is unknown.
        """
        if self.task.kind == "metric":
            return super().pasted(label, other, where)
        known = self.task.labels.known
        own, others = (
            ops.where(where, *depths) for depths in ((0.0, label["depth"]), (other["depth"], 0.0))
        )
        more = ops.sum(ops.cast(known(others), "int32")) > ops.sum(ops.cast(known(own), "int32"))
        return {"depth": ops.where(more, others, own)}

    def pasted_under_objects(self, label: Tensors, other: Tensors, where: Tensor) -> Tensors:
        """Return the image's depth, unknown under the objects of another.

        Known there are meters below those of the image, so that the object hides what is behind it.
        """
        own, others = label["depth"], other["depth"]
        is_in_front = (others > 0.0) & (others < own) & (self.task.kind == "metric")
        return {"depth": ops.where(where, ops.where(is_in_front, others, 0.0), own)}
