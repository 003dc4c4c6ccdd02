"""Pictures of depth: a color for each distance, and the scale of each picture."""

from typing import ClassVar

import numpy as np

from must_keras.tasks import base
from must_keras.tasks.parts import Arrays
from must_keras.tasks.visualization import ColorBar

# Percentiles of a picture's nearness at the ends of its colors, and colors of its bar.
_ENDS, _BAR_COLORS = (2, 98), 64


class Visualization(base.Visualization):
    """A color for each distance: colors are even in 1 / meters, or in relative inverse depth.

    Example:
        image = np.zeros((64, 64, 3), np.uint8)
        Depth(name="distance").visualization.visualize(
            image, {"depth": np.ones((64, 64), np.float32)}
        )
    """

    legend: ClassVar[str] = "near is yellow, far is blue"

    def visualize(self, image: np.ndarray, shown: Arrays) -> np.ndarray:
        """Return near in yellow and far in blue; black where depth is unknown."""
        nearness, valid = self._nearness(shown)
        if valid.any():
            low, high = np.percentile(nearness[valid], _ENDS)
            nearness = np.clip((nearness - low) / max(high - low, 1e-9), 0, 1)
        return np.where(valid[..., None], _colors(nearness), 0).astype(np.uint8)

    def color_bar(self, shown: Arrays) -> ColorBar | None:
        """Return the colors from near to far, in meters where the head has them.

        None where no depth is known.
        """
        nearness, valid = self._nearness(shown)
        if not valid.any():
            return None
        low, high = np.percentile(nearness[valid], _ENDS)
        ticks = ("near", "", "far")
        if self.task.kind == "metric":
            ticks = tuple(f"{1.0 / n:.3g} {self.task.unit}" for n in (high, (low + high) / 2, low))
        return ColorBar(colors=_colors(np.linspace(1.0, 0.0, _BAR_COLORS)), ticks=ticks)

    def _nearness(self, shown: Arrays) -> tuple[np.ndarray, np.ndarray]:
        """Return what is larger where it is nearer, and where it is known."""
        depth = np.asarray(shown["depth"], np.float64)
        valid = np.isfinite(depth) & (depth > 0)
        nearness = np.where(valid, depth, 1.0)
        return 1.0 / nearness if self.task.kind == "metric" else nearness, valid


def _colors(nearness: np.ndarray) -> np.ndarray:
    """Return the color, [..., 3] uint8, of each nearness in [0, 1]."""
    from matplotlib import colormaps

    return (255 * colormaps["cividis"](nearness)[..., :3]).astype(np.uint8)
